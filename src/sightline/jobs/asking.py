"""One task on many photos, here or at a server. Both answer with an image's entry of ``/v1/analyze``."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import httpx2

from sightline.errors import (
    ConfigurationError,
    InputError,
    InvalidParameters,
    ModelBroken,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
    UnknownOperation,
    UntrustedHost,
)
from sightline.imaging import ImageLimits
from sightline.jobs.describing import RunEnded
from sightline.jobs.looking import for_many, look_at, read_image
from sightline.jobs.server import Server, code_of, said, server_at
from sightline.runtime.analyzer import Analyzer, Task
from sightline.runtime.report import error_report, picture_report
from sightline.settings import Settings

_ANALYZE = "v1/analyze"
# Photos under way at once, so that the server has batches to make.
_AHEAD = 4
# Refusals of /v1 that are about the image and not about the question, the caller or the server.
_ABOUT_THE_IMAGE = frozenset({400, 413, 415, 422, 500})
# Errors that every other photo would meet too: mistakes in the question, and what is missing for an answer.
_MISTAKES = frozenset(kind.code for kind in (InvalidParameters, UnknownModel, UnknownOperation))
_HOPELESS = _MISTAKES | {kind.code for kind in (ConfigurationError, ModelBroken, ModelUnavailable)}


class QuestionRefused(RunEnded, InputError):
    """A run that ended because of what was asked, which whoever asked can mend."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A photo and its entry: ``image``, ``results`` by task id, and ``error`` if it did not open."""

    source: str
    entry: Mapping[str, Any]

    def complaints(self) -> Iterator[str]:
        """What went wrong, if anything did."""
        if error := self.entry.get("error"):
            yield f"{self.source}: {error['message']}"
        for result in self.entry["results"].values():
            if result["status"] == "error":
                yield f"{self.source}: {result['error']['message']}"


async def ask_here(
    settings: Settings, task: Task, sources: Sequence[str], timeout_s: float, *, fill_truncated: bool = False
) -> AsyncIterator[Asked]:
    """Every source in its order, answered by this process. A source is a file, a URL, or ``-`` for stdin.

    Raises:
        ConfigurationError: a setting or a plug-in is wrong.
        UnknownOperation, InvalidParameters: there is no such question.
        QuestionRefused: no photo can be asked so.
        RunEnded: no photo can be answered for, such as without weights.
    """
    async with Analyzer.create(for_many(settings, len(sources))) as analyzer:
        tasks = [analyzer.bind(task)]
        looking = look_at(analyzer, sources, tasks, timeout_s, crops=False, fill_truncated=fill_truncated)
        async for seen in looking:
            entry = picture_report(seen.picture, seen.outcomes)
            if seen.error is not None:
                entry["error"] = error_report(seen.error)
            _end_if_hopeless(entry)
            yield Asked(seen.source or "", entry)


async def ask_there(
    settings: Settings,
    url: str,
    api_key: str | None,
    task: Task,
    sources: Sequence[str],
    *,
    fill_truncated: bool = False,
) -> AsyncIterator[Asked]:
    """The same from the server at ``url``, which fetches URLs itself.

    Raises:
        InvalidRequest: the URL or the key cannot be used.
        QuestionRefused: the question is none for that server.
        RunEnded: nobody answers there, or not to us, or for no photo.
    """
    limits = replace(ImageLimits.from_settings(settings), fills_truncated=fill_truncated)
    async with server_at(url, api_key) as server:
        under_way: deque[asyncio.Task[Asked]] = deque()
        ahead = 1  # until there was an answer: no second photo is sent with a question that is none
        try:
            for source in sources:
                under_way.append(asyncio.create_task(_ask(server, task, source, limits)))
                if len(under_way) == ahead:
                    asked = await under_way.popleft()
                    ahead = _AHEAD if asked.entry["results"] else ahead
                    yield asked
            while under_way:
                yield await under_way.popleft()
        finally:
            for waiting in under_way:
                waiting.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


async def _ask(server: Server, task: Task, source: str, limits: ImageLimits) -> Asked:
    try:
        if source.lower().startswith(("http://", "https://")):
            body = {"url": source, "tasks": _written(task)}
            query = _query(limits.fills_truncated)
            entry = _entry(server, await server.ask("POST", _ANALYZE, json=body, params=query))
        else:
            data = await asyncio.to_thread(read_image, source, limits.max_bytes)
            limits.check_bytes(len(data))
            entry = await ask_about(
                server, task, PurePath(source).name, data, fill_truncated=limits.fills_truncated
            )
    except RunEnded:
        raise
    except SightlineError as error:
        return Asked(source, {"image": None, "results": {}, "error": error_report(error)})
    try:
        _end_if_hopeless(entry, server)
    except (LookupError, TypeError, AttributeError):
        raise server.stranger() from None
    return Asked(source, entry)


async def ask_about(
    server: Server, task: Task, name: str, data: bytes, *, fill_truncated: bool = False
) -> dict[str, Any]:
    """The entry of the image in ``data``, which is called ``name``: see ``Asked``.

    Raises:
        RunEnded: the server is gone or not one of this kind, or no image can be asked about so.
        SightlineError: it does not answer for this image.
    """
    # Names may hold bytes that are no text.
    files = {"image": (name.encode("utf-8", "replace").decode(), data)}
    form = {"tasks": json.dumps(_written(task))}
    response = await server.ask("POST", _ANALYZE, data=form, files=files, params=_query(fill_truncated))
    return _entry(server, response)


def _query(fill_truncated: bool) -> dict[str, str]:
    return {"truncated": "fill"} if fill_truncated else {}


def _written(task: Task) -> list[dict[str, Any]]:
    return [{"id": task.id, "operation": task.operation, "params": dict(task.params)}]


def _end_if_hopeless(entry: Mapping[str, Any], server: Server | None = None) -> None:
    """Raises RunEnded if the task failed in a way in which it would fail for every photo."""
    for result in entry["results"].values():
        if result["status"] == "error" and result["error"]["code"] in _HOPELESS:
            raise _ended(result["error"]["code"], result["error"]["message"], server)


def _ended(code: str, message: str, server: Server | None) -> RunEnded:
    kind = QuestionRefused if code in _MISTAKES else RunEnded
    return kind(f"the server at {server.url} says: {message}" if server else message)


def _entry(server: Server, response: httpx2.Response) -> dict[str, Any]:
    code = code_of(response)
    if code and (code in _MISTAKES or code == UntrustedHost.code or response.status_code == 503):
        raise _ended(code, said(response), server)
    if code and response.status_code in _ABOUT_THE_IMAGE:
        return {"image": None, "results": {}, "error": {"code": code, "message": said(response)}}
    server.admit(response)
    try:
        (entry,) = response.json()["images"]
        return {name: entry[name] for name in ("image", "results", "error") if name in entry}
    except (ValueError, LookupError, TypeError):
        raise server.stranger() from None
