"""Identification by a running server, which is asked through ``/v1``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import (
    ConfigurationError,
    ModelBroken,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
)
from sightline.imaging import ImageLimits, encode_png
from sightline.jobs.asking import ask_about
from sightline.jobs.describing import RunEnded
from sightline.jobs.looking import read_image
from sightline.jobs.server import Server, said, server_at
from sightline.jobs.wildlife.boxes import Boxes
from sightline.jobs.wildlife.identifying import TEXT_TASK, Identified, Identifier, Printed, Query
from sightline.jobs.wildlife.places import Place
from sightline.jobs.wildlife.predictions import PredictionsFormat
from sightline.runtime.analyzer import Task

_PLACES = "v1/places"
# Where the Greenwich meridian meets the equator: what is there does not matter.
_SOMEWHERE = Place(latitude=0.0, longitude=0.0)
# Height and width of a picture that is grey all over: detector, classifier and rules all have a say on it.
_BLANK_SIDE, _GREY = 64, 128
# Errors of a task that the next photo would meet as well.
_HOPELESS = frozenset(kind.code for kind in (ConfigurationError, ModelBroken, ModelUnavailable, UnknownModel))


@asynccontextmanager
async def identifying_there(
    url: str,
    query: Query,
    limits: ImageLimits,
    api_key: str | None = None,
    *,
    with_places: bool,
    with_detector: bool = True,
    fill_truncated: bool = False,
) -> AsyncIterator[Identifier]:
    """An identifier that asks the server at ``url``. ``with_places``: countries are to be looked up by
    coordinates. ``with_detector``: some photos come without boxes.

    A busy server is asked again when it said so, or ever more slowly. Files longer than the limits say are
    not sent. That the server's weights change meanwhile ends the run: answers are not mixed.

    Raises:
        InvalidRequest: the URL or the key cannot be used.
    """
    limits = replace(limits, fills_truncated=fill_truncated)
    async with server_at(url, api_key) as server:
        yield _There(server, query, limits, with_places=with_places, with_detector=with_detector)


class _There:
    def __init__(
        self, server: Server, query: Query, limits: ImageLimits, *, with_places: bool, with_detector: bool
    ) -> None:
        self._server = server
        self._query = query
        self._limits = limits
        self._with_places = with_places
        self._with_detector = with_detector
        self._models: Mapping[str, str] = {}
        self._gazetteer: str | None = None

    async def load(self) -> Mapping[str, str]:
        """See ``Identifier``. The server is asked about a blank picture, in the format that always takes all
        models: which they are is its own choice, and they are loaded then."""
        if self._with_places:
            self._gazetteer = await self._find_gazetteer()
        place = _SOMEWHERE if self._with_places else Place()
        all_models = {**self._query.params, "format": PredictionsFormat.SPECIESNET_4.value}
        task = replace(self._query, params=all_models).task(place, None if self._with_detector else ())
        blank = encode_png(np.full((_BLANK_SIDE, _BLANK_SIDE, 3), _GREY, np.uint8))
        try:
            _, models = await self._ask(task, "blank.png", blank, place)
        except RunEnded:
            raise
        except SightlineError as error:
            raise self._says(str(error)) from error
        if self._query.with_strip:
            models = {**models, **await self._load_reader(blank)}
        if len(models) < 2:
            raise RunEnded(
                f"the server at {self._server.url} does not say which models answer: it is older than this "
                "command, which would not notice that they change"
            )
        self._models = models
        return models

    async def identify(self, photo: Path, place: Place, boxes: Boxes | None = None) -> Identified:
        """See ``Identifier``."""
        data = await asyncio.to_thread(read_image, str(photo), self._limits.max_bytes)
        self._limits.check_bytes(len(data))
        identified, models = await self._ask(self._query.task(place, boxes), photo.name, data, place)
        for name, fingerprint in models.items():
            if self._models.get(name) != fingerprint:
                raise RunEnded(
                    f"{name} of the server at {self._server.url} is another than when this run began: "
                    "answers are not mixed"
                )
        return identified

    async def read(self, photo: Path) -> Sequence[Printed]:
        """See ``Identifier``."""
        data = await asyncio.to_thread(read_image, str(photo), self._limits.max_bytes)
        _, lines = await self._read(photo.name, data)
        return lines

    async def _load_reader(self, blank: bytes) -> Mapping[str, str]:
        try:
            models, _ = await self._read("blank.png", blank)
        except RunEnded:
            raise
        except SightlineError as error:
            raise self._says(str(error)) from error
        return models

    async def _read(self, name: str, data: bytes) -> tuple[Mapping[str, str], Sequence[Printed]]:
        """The fingerprint of the model that read the text, by name, and the lines of text."""
        entry = await ask_about(
            self._server, TEXT_TASK, name, data, fill_truncated=self._limits.fills_truncated
        )
        result = self._result(entry)
        try:
            height = int(entry["image"]["height"])
            lines = [Printed.create(line, height) for line in result["data"]["lines"]]
            return {str(result["model"]["name"]): str(result["model"]["fingerprint"])}, lines
        except (LookupError, TypeError, ValueError):
            raise self._server.stranger() from None

    async def _ask(
        self, task: Task, name: str, data: bytes, place: Place
    ) -> tuple[Identified, Mapping[str, str]]:
        """The answer, and the fingerprints of the models that had a say, by name."""
        result = self._result(
            await ask_about(self._server, task, name, data, fill_truncated=self._limits.fills_truncated)
        )
        try:
            warnings = tuple(map(str, result.get("warnings", ())))
            used = result.get("models") or [result["model"]]
            if used == [None] and task.params.get("detections") == []:
                used = []  # nothing was detected, so no model had a say
            models = {str(each["name"]): str(each["fingerprint"]) for each in used}
            identified = Identified({**result["data"]}, warnings)
        except (LookupError, TypeError):
            raise self._server.stranger() from None
        if place.has_coordinates and self._gazetteer not in models:
            raise SightlineError("; ".join(warnings) or "the coordinates were not looked up")
        return identified, models

    async def _find_gazetteer(self) -> str:
        """The model that looks up coordinates. Without it the operation would only give warnings."""
        response = await self._server.ask("GET", _PLACES, params={"lat": 0, "lon": 0})
        if response.status_code == 503:
            raise self._says(said(response))
        self._server.admit(response)
        try:
            return str(response.json()["model"]["name"])
        except (ValueError, LookupError, TypeError):
            raise self._server.stranger() from None

    def _result(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of the only task.

        Raises:
            RunEnded: every other photo would fail for the same reason.
            SightlineError: the photo did not open, or the task failed.
        """
        try:
            error = entry.get("error")
            if error is None:
                (result,) = entry["results"].values()
                if result["status"] == "ok":
                    return {**result}
                error = result["error"]
            code, message = str(error["code"]), str(error["message"])
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self._server.stranger() from None
        if code in _HOPELESS:
            raise self._says(message)
        raise SightlineError(message)

    def _says(self, message: str) -> RunEnded:
        return RunEnded(f"the server at {self._server.url} says: {message}")
