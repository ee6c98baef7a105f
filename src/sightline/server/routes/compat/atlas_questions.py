"""One question about many images, and its answers in groups: ``/gemini/analyze/`` of the atlas-backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.capabilities.question import ANSWER
from sightline.errors import InvalidImage, InvalidParameters, InvalidRequest, ModelUnavailable, SightlineError
from sightline.imaging import Picture
from sightline.runtime.analyzer import Analyzer, BoundTask, Outcome, Task
from sightline.runtime.report import error_report
from sightline.server.json_bodies import parse_json

LABEL_FIELD = "category_label"
# Where a schema of the caller's may keep what an image is; the first that holds a word or a number counts.
# Those of the replaced service come first, in its order; it also looked inside these lists and objects.
LABEL_FIELDS = (
    *(LABEL_FIELD, "group_label", "label", "category", "cluster", "species", "name", "title"),
    *("group", "class_label", "class", "classification", "tag", "type"),
)
NESTED_FIELDS = ("results", "details")
BY_IMAGE = "image"
# What is asked for when the caller has no schema: a label to group by, and room for an answer.
DEFAULT_SCHEMA = {
    "type": "object",
    "properties": {
        LABEL_FIELD: {
            "type": "string",
            "description": "One to three words for the kind of thing the image shows, the same words for "
            "images of the same kind.",
        },
        "analysis": {"type": "string", "description": "The answer to the question."},
        "details": {"type": "string", "description": "What else matters, if anything does."},
    },
    "required": [LABEL_FIELD, "analysis"],
}

Opened = Callable[[int], Awaitable[Picture]]


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What was said of one image, or what went wrong with it."""

    index: int
    filename: str
    num_bytes: int
    response: Any = None
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    outcome: Outcome | None = None
    error: SightlineError | None = None


async def answer_questions(
    analyzer: Analyzer,
    prompt: str,
    schema_json: str | None,
    files: Sequence[tuple[str, int]],
    opened: Opened,
) -> tuple[dict[str, Any], list[Outcome]]:
    """Ask ``prompt`` about each image and group the answers; an image that fails is an entry of ``errors``.

    ``files`` are names and sizes in bytes; ``opened`` gives the picture of one of them by its index.

    Raises:
        ModelUnavailable: no model is configured; the message says what to set.
        InvalidRequest, InvalidParameters: ``schema_json`` is no JSON, or no JSON Schema.
        SightlineError: no image was answered about; this is what went wrong with the first.
    """
    if lacking := analyzer.engine.directory.lacking(ANSWER):
        raise ModelUnavailable(f"no vision-language model is configured: {lacking}")
    schema = DEFAULT_SCHEMA if schema_json is None else _schema(schema_json)
    try:
        task = analyzer.bind(Task("question", "ask", {"prompt": prompt, "json_schema": schema}))
    except InvalidParameters as error:  # in the form's words
        raise InvalidParameters(
            str(error).removeprefix("ask: ").replace("json_schema:", "schema_json:", 1)
        ) from None
    answers = await asyncio.gather(
        *(
            _ask(analyzer, task, ImageAnswer(index, name, num_bytes), opened)
            for index, (name, num_bytes) in enumerate(files)
        )
    )
    failures = [answer.error for answer in answers if answer.error is not None]
    if len(failures) == len(answers):
        raise failures[0]
    outcomes = [answer.outcome for answer in answers if answer.outcome is not None]
    return _body(prompt, schema, schema_json is None, answers), outcomes


def _schema(written: str) -> Any:
    try:
        schema = parse_json(written)
    except InvalidRequest as error:
        raise InvalidRequest(f"schema_json: {error}") from None
    if schema is None:  # to the operation that would be none at all
        raise InvalidParameters("schema_json: null is no JSON Schema; leave the field out")
    return schema


async def _ask(analyzer: Analyzer, task: BoundTask, about: ImageAnswer, opened: Opened) -> ImageAnswer:
    names = (about.index, about.filename, about.num_bytes)
    try:
        picture = await opened(about.index)
    except SightlineError as error:
        return ImageAnswer(*names, error=error)
    (outcome,) = await analyzer.analyze(picture, [task])
    if isinstance(outcome.error, InvalidImage):  # damaged past its header
        return ImageAnswer(*names, outcome=outcome, error=InvalidRequest(str(outcome.error)))
    if outcome.answer is None:
        return ImageAnswer(*names, outcome=outcome, error=outcome.error)
    data = outcome.answer.data
    assert data is not None
    return ImageAnswer(
        *names,
        response=outcome.operation.plain(data),
        model=data.model,
        input_tokens=data.input_tokens,
        output_tokens=data.output_tokens,
        outcome=outcome,
    )


def _body(
    prompt: str, schema: Any, is_default_schema: bool, answers: Sequence[ImageAnswer]
) -> dict[str, Any]:
    """The replaced service's fields, and more beside them: counts, errors and tokens."""
    answered = [answer for answer in answers if answer.error is None]
    groups = grouped(answered)
    return {
        "prompt": prompt,
        "schema": schema,
        "gemini_model": answered[0].model,
        "total_images": len(answers),
        "image_count": len(answers),
        "group_count": len(groups),
        "error_count": len(answers) - len(answered),
        "groups": groups,
        "errors": [
            {**_about(answer), "error": error_report(answer.error)}
            for answer in answers
            if answer.error is not None
        ],
        "metadata": {
            "model": answered[0].model,
            "schema": "default" if is_default_schema else "request",
            "input_tokens": _total([answer.input_tokens for answer in answered]),
            "output_tokens": _total([answer.output_tokens for answer in answered]),
        },
    }


def grouped(answers: Sequence[ImageAnswer]) -> list[dict[str, Any]]:
    """Answers under what they call their image, letter case aside, groups in the order of their first image.

    An answer without such a word is a group of its own, under its file's name, ``grouped_by`` "image".
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for answer in answers:
        label, field = label_of(answer.response)
        by = (field, label.casefold()) if field else (BY_IMAGE, str(answer.index))
        group = groups.setdefault(
            by,
            {
                "group": label or answer.filename,
                LABEL_FIELD: label or answer.filename,
                "grouped_by": field or BY_IMAGE,
                "count": 0,
                "items": [],
            },
        )
        group["items"].append({**_about(answer), "response": answer.response})
        group["count"] += 1
    for group in groups.values():
        group["images"] = group["items"]
    return list(groups.values())


def label_of(response: Any) -> tuple[str, str]:
    """What an answer calls its image, and the field that says so; two empty strings if none does.

    Its own fields count before those inside ``results`` and ``details``, of a list the first that has one.
    """
    if not isinstance(response, dict):
        return "", ""
    for field in LABEL_FIELDS:
        if label := _word(response.get(field)):
            return label, field
    for nest in NESTED_FIELDS:
        inside = response.get(nest)
        for each in inside if isinstance(inside, list) else [inside]:
            for field in LABEL_FIELDS:
                if isinstance(each, dict) and (label := _word(each.get(field))):
                    return label, f"{nest}.{field}"
    return "", ""


def _word(value: Any) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _about(answer: ImageAnswer) -> dict[str, Any]:
    return {"index": answer.index, "filename": answer.filename, "content_size": answer.num_bytes}


def _total(tokens: Sequence[int | None]) -> int | None:
    known = [each for each in tokens if each is not None]
    return sum(known) if known else None
