"""``--task OPERATION[:key=value,…]``: what a person types for what a request writes in JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sightline.errors import InvalidParameters

if TYPE_CHECKING:
    from sightline.runtime.analyzer import Task


def read_tasks(texts: Sequence[str]) -> list[Task]:
    """One task per text. Ids are the operations' names, numbered from the second of a name on.

    Values stay text, which the operation's schema turns into numbers, booleans and choices. A value that
    starts like a JSON string, list or object is read as JSON, and ``null`` is no value at all.

    Raises:
        InvalidParameters: a text cannot be read.
    """
    from sightline.runtime.analyzer import Task

    seen: Counter[str] = Counter()
    tasks = []
    for text in texts:
        operation, _, written = text.partition(":")
        seen[operation] += 1
        number = seen[operation]
        task_id = operation if number == 1 else f"{operation}-{number}"
        tasks.append(Task(task_id, operation, dict(_pairs(text, written)), written=True))
    return tasks


def _pairs(text: str, written: str) -> Iterator[tuple[str, Any]]:
    seen = set()
    rest = written
    while rest:
        key, equals, rest = rest.partition("=")
        key = key.strip()
        if not equals or not key or "," in key:
            raise InvalidParameters(f"--task {text!r}: write OPERATION:key=value,key=value")
        if key in seen:
            raise InvalidParameters(f"--task {text!r}: {key} is given twice")
        seen.add(key)
        value, rest = _value(text, key, rest)
        yield key, value


def _value(text: str, key: str, rest: str) -> tuple[Any, str]:
    """The value at the start of ``rest``, and what follows the comma after it."""
    if rest[:1] in ('"', "[", "{"):
        try:
            value, end = json.JSONDecoder().raw_decode(rest)
        except (ValueError, RecursionError):
            raise InvalidParameters(f"--task {text!r}: the value of {key} is not valid JSON") from None
        if rest[end : end + 1] not in ("", ","):
            raise InvalidParameters(f"--task {text!r}: a comma must follow the value of {key}")
        return value, rest[end + 1 :]
    plain, _, rest = rest.partition(",")
    return (None if plain == "null" else plain), rest
