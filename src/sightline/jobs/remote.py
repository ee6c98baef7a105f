"""Describing images through a running server: this one, or any that keeps the image-embed contract."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from sightline.capabilities.caption import CAPTION
from sightline.errors import SightlineError, TargetNotFound
from sightline.imaging import ImageLimits
from sightline.jobs.describing import OPERATION, TASK_ID, Describer, Description, RunEnded
from sightline.jobs.looking import read_image
from sightline.jobs.server import Server, said, server_at
from sightline.types import Target

_UPLOAD = "analyze_image_upload/"
_OPERATIONS = "available_operations/"
_MODELS = "v1/models"
# Of the answers that say no, those that are about the image and not about who asks, how, or where.
_ABOUT_THE_IMAGE = frozenset({400, 413, 415, 422, 500})


@asynccontextmanager
async def describing_there(
    url: str, params: Mapping[str, Any], limits: ImageLimits, api_key: str | None = None
) -> AsyncIterator[Describer]:
    """A describer that asks the server at ``url``, after making sure that it is one.

    Busy servers are asked again when they said so, or ever more slowly. Files longer than the limits say are
    not sent.

    Raises:
        InvalidRequest: the URL or the key cannot be used.
        RunEnded: nobody answers there, or not as the contract has it, or not to us.
    """
    async with server_at(url, api_key) as server:
        describer = _There(server, params, limits)
        await describer.check()
        yield describer


class _There:
    def __init__(self, server: Server, params: Mapping[str, Any], limits: ImageLimits) -> None:
        self._server = server
        self._url = server.url
        self._limits = limits
        self._target = params.get("target", Target.WHOLE_IMAGE)
        self._model = params.get("model")
        task = {"operation_id": TASK_ID, "type": OPERATION, "params": dict(params)}
        self._form = {"tasks_json": json.dumps([task])}

    async def check(self) -> None:
        """Raises RunEnded unless the server says that it can do what is going to be asked."""
        response = await self._server.ask("GET", _OPERATIONS)
        self._server.admit(response)
        try:
            operation = response.json()["operations"].get(OPERATION)
            targets = operation["allowed_targets"] if operation else ()
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._server.stranger() from None
        if operation is None:
            raise RunEnded(f"the server at {self._url} has no operation {OPERATION}")
        if self._target not in targets:
            raise RunEnded(
                f"the server at {self._url} describes no {self._target}, only {', '.join(targets)}"
            )
        able = [model["name"] for model in await self._models() if CAPTION.name in model["capabilities"]]
        if self._model is not None and able and self._model not in able:
            raise RunEnded(f"the server at {self._url} has no model {self._model!r}, only {', '.join(able)}")

    async def describe(self, image: Path) -> Description:
        """See ``Describer``."""
        data = await asyncio.to_thread(read_image, str(image), self._limits.max_bytes)
        self._limits.check_bytes(len(data))
        # Names may hold bytes that are no text; media types are a courtesy to servers that look at them.
        name = image.name.encode("utf-8", "replace").decode()
        kind = mimetypes.guess_type(name)[0] or "image/jpeg"
        response = await self._server.ask(
            "POST", _UPLOAD, data=self._form, files={"image_file": (name, data, kind)}
        )
        if response.status_code in _ABOUT_THE_IMAGE:
            raise SightlineError(said(response))
        self._server.admit(response)
        return await self._read(response)

    async def _read(self, response: httpx2.Response) -> Description:
        try:
            result = response.json()["results"][TASK_ID]
            status, text, message = result["status"], result.get("data"), str(result.get("error_message"))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._server.stranger() from None
        if status == "success" and isinstance(text, str):
            warning = response.headers.get("x-sightline-warning")
            return Description(text, (warning,) if warning else ())
        if status == "skipped":
            if self._target == Target.PROMINENT_FACE:
                raise TargetNotFound(message)
            raise RunEnded(f"the server at {self._url} says: {message}")  # only faces can be missing
        await self._end_if_shared(message)
        raise SightlineError(message)

    async def _end_if_shared(self, message: str) -> None:
        """Raise RunEnded if a task failed because of a model that does not load.

        The contract has no codes, but Sightline lists its models with what their last load said.
        """
        for model in await self._models():
            if model["problem"] and model["problem"] in message:
                raise RunEnded(f"the server at {self._url} says: {model['problem']}")

    async def _models(self) -> list[dict[str, Any]]:
        """The server's models; none for one that is not Sightline."""
        try:
            models = (await self._server.client.get(_MODELS)).json()["models"]
            return [{key: model[key] for key in ("name", "capabilities", "problem")} for model in models]
        except (httpx2.HTTPError, ValueError, LookupError, TypeError):
            return []
