"""JSON as it comes from pages that wrap it in HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pydantic_core

# Places in a text where a list may begin; a page that is no data has thousands of brackets.
_MOST_STARTS = 200
# What holds data rather than words, the likeliest first.
_HOLDERS = ("pre", "script", "code", "textarea")


def list_in(data: bytes) -> list[Any]:
    """The list that ``data`` is, or that a page wraps: in ``<pre>``, a script, or plainly in its body.

    NaN and infinities are read as numbers; whoever gets them judges.

    Raises:
        ValueError: there is none; the message says what there is instead.
    """
    text = data.decode("utf-8-sig", "replace").strip()
    if not text.startswith("<"):
        return _from_text(text)
    parser = _Page()
    parser.feed(text)
    parser.close()
    for held in parser.held():
        # A script's text is not unescaped by HTML's rules, and is by some templates.
        for candidate in dict.fromkeys((held, html.unescape(held))):
            try:
                return _from_text(candidate)
            except ValueError:
                continue
    raise ValueError("a page without a list of JSON in it")


def _from_text(text: str) -> list[Any]:
    text = text.strip()
    try:
        value = pydantic_core.from_json(text)
    except ValueError:
        value = _first_list(text)
    if not isinstance(value, list):
        raise ValueError(f"JSON that is no list but {_kind(value)}")
    return value


def _first_list(text: str) -> list[Any]:
    """The first list with objects in it that begins anywhere in ``text``."""
    decoder = json.JSONDecoder()
    start = -1
    for _ in range(_MOST_STARTS):
        start = text.find("[", start + 1)
        if start < 0:
            break
        try:
            value: list[Any] = decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
        if value and all(isinstance(each, dict) for each in value):
            return value
    raise ValueError("text without a list of JSON in it")


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        said = value.get("error") or value.get("message")
        return f"an object that says {said[:200]!r}" if isinstance(said, str) else "an object"
    return f"a {type(value).__name__}"


class _Page(HTMLParser):
    """Collects the text of a page, as a whole and by what holds it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._texts: dict[str, list[list[str]]] = {holder: [] for holder in _HOLDERS}
        self._all: list[str] = []

    def held(self) -> Iterator[str]:
        for holder in _HOLDERS:
            for pieces in self._texts[holder]:
                yield "".join(pieces)
        yield "".join(self._all)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HOLDERS:
            self._open.append(tag)
            self._texts[tag].append([])

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        for holder in self._open:
            self._texts[holder][-1].append(data)
        if "script" not in self._open:
            self._all.append(data)
