"""The text of a language model without its reasoning, and the JSON in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import pydantic_core

from sightline import json_schema

# Only at the beginning: later in an answer such a tag is a part of it.
_THOUGHTS = re.compile(r"\s*<(think|thinking|thought|reasoning)>(.*?)(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
# Chat templates that open the block in the prompt leave the closing tag alone.
_END_OF_THOUGHTS = "</think>"
_FENCE = re.compile(r"```[a-z0-9_-]*[ \t]*\n?(.*?)```", re.DOTALL | re.IGNORECASE)
# An answer is a few values; of a text full of brackets not every one is tried.
_MOST_STARTS = 200


def without_thoughts(text: str) -> str:
    """``text`` without what a reasoning model wrote before its answer; empty if the answer never began."""
    answer = text
    while match := _THOUGHTS.match(answer):
        answer = answer[match.end() :]
    thoughts, tag, rest = answer.partition(_END_OF_THOUGHTS)
    if tag and "<think>" not in thoughts:
        answer = rest
    return text if answer is text else answer.strip()


def read_json(text: str, schema: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The JSON in an answer that fits ``schema``, and what is wrong if there is none.

    It may be in a Markdown fence or between sentences. Nothing is taken out of JSON that is cut off.
    """
    problem: str | None = None
    for value in _values(text):
        misfit = json_schema.misfit(schema, value)
        if misfit is None:
            return value, None
        problem = problem or misfit
    return None, problem or f"it is not JSON ({_why_not(text)})"


def _values(text: str) -> Iterator[Any]:
    """All of the text, or else what is in its fences, or else each value between other words."""
    text = text.strip("\ufeff \t\r\n")
    for whole in (text, *(match.group(1) for match in _FENCE.finditer(text))):
        try:
            yield pydantic_core.from_json(whole.strip(), allow_inf_nan=False)
        except ValueError:
            continue
        if whole is text:
            return
    yield from _between_words(text)


def _between_words(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder(parse_constant=_no_number)
    at = 0
    for _ in range(_MOST_STARTS):
        start = re.compile(r"[{\[]").search(text, at)
        if start is None:
            return
        try:
            value, at = decoder.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text):
                return  # cut off: what is inside is only a part of the answer
            at = start.end()
        except (ValueError, RecursionError):
            return
        else:
            yield value


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _why_not(text: str) -> str:
    try:
        pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return str(error)
    return "no value"
