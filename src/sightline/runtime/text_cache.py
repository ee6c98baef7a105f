"""A bounded cache of text embeddings in front of a model, and one reading for all who ask meanwhile.

Labels repeat: a label that is asked of a thousand pictures is embedded once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities import Subject
from sightline.capabilities.embedding import Embedding
from sightline.errors import DeadlineExceeded
from sightline.operations import Inference
from sightline.runtime.context import Context, until
from sightline.runtime.residency import Residency
from sightline.runtime.served import Served
from sightline.runtime.telemetry import Telemetry
from sightline.runtime.workers import Workers
from sightline.types import ModelRef

# What an entry takes besides its text and numbers: key, array and reference objects, roughly.
_ENTRY_BYTES = 500

_Read = Callable[[], Coroutine[Any, Any, Inference[Embedding]]]


class TextVectors:
    """Vectors by model and text; the least recently used is dropped first. Belongs to one event loop.

    An entry is valid for the weights that made it: callers compare ``Inference.model``.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[tuple[str, str], Inference[Embedding]] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory of all entries, estimated; at most ``max_bytes``."""
        return self._num_bytes

    def get(self, model: str, text: str) -> Inference[Embedding] | None:
        """Return the vector of ``text``, made with the weights that ``model`` had then."""
        found = self._kept.get((model, text))
        if found is not None:
            self._kept.move_to_end((model, text))
        return found

    def keep(self, text: str, inference: Inference[Embedding]) -> None:
        """Store a vector in place of an older one. It is made read-only, because callers share it."""
        if inference.timing is not None:
            inference = replace(inference, timing=None)
        vector: NDArray[np.float32] = inference.output
        vector.flags.writeable = False
        key = (inference.model.name, text)
        self._forget(key)
        self._kept[key] = inference
        self._num_bytes += _bytes_of(text, inference)
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._num_bytes = 0

    def _forget(self, key: tuple[str, str]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._num_bytes -= _bytes_of(key[1], found)


@dataclass(eq=False, slots=True)
class _Reading:
    key: tuple[str, str]
    task: asyncio.Task[Inference[Embedding]]
    waiting: int = 0


class Readings:
    """Texts that are being embedded. Belongs to one event loop.

    Eight pictures that come to a cold server with the same labels share one reading of each label. They do
    not fill the lane with eight times as many.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, str], _Reading] = {}

    async def share(self, model: str, text: str, read: _Read, deadline: float) -> Inference[Embedding]:
        """Return the result of ``read``, or of another's reading of the text. It ends with its last caller.

        Raises like ``read``. If another's ran out of its own time before ``deadline``, it is read anew.
        """
        while True:
            try:
                return await self._wait_for(self._reading((model, text), read))
            except DeadlineExceeded:
                if time.monotonic() >= deadline:
                    raise

    def _reading(self, key: tuple[str, str], read: _Read) -> _Reading:
        reading = self._under_way.get(key)
        if reading is None:
            reading = self._under_way[key] = _Reading(key, asyncio.create_task(read()))
            reading.task.add_done_callback(lambda _: self._forget(reading))
        return reading

    async def _wait_for(self, reading: _Reading) -> Inference[Embedding]:
        reading.waiting += 1
        try:
            return await asyncio.shield(reading.task)
        finally:
            reading.waiting -= 1
            if not reading.waiting:
                self._forget(reading)  # a later caller must not wait for a cancelled task
                reading.task.cancel()

    def _forget(self, reading: _Reading) -> None:
        if self._under_way.get(reading.key) is reading:
            del self._under_way[reading.key]


class CachedTexts:
    """A served model whose text vectors are cached. Other subjects pass through."""

    def __init__(
        self,
        served: Served,
        vectors: TextVectors,
        readings: Readings,
        residency: Residency,
        workers: Workers,
        telemetry: Telemetry,
    ) -> None:
        self._served = served
        self._vectors = vectors
        self._readings = readings
        self._residency = residency
        self._workers = workers
        self._telemetry = telemetry

    async def infer(self, subject: Subject, context: Context) -> Inference[Any]:
        """Return a cached vector if its weights are still current; else embed the text, once for all."""
        if not isinstance(subject, str):
            return await self._served.infer(subject, context)
        model = self._served.model
        known = self._vectors.get(model, subject)
        if known is not None and known.model == await self._current_ref():
            self._telemetry.text_recalled(model)
            return known
        async with until(context):
            return await self._readings.share(
                model, subject, lambda: self._read(subject, context), context.deadline
            )

    def at_once(self, subject: Subject) -> Inference[Any] | None:
        """Return a cached vector of the loaded weights, or None."""
        resident = self._residency.residents.get(self._served.model)
        if resident is None or not isinstance(subject, str):
            return None
        known = self._vectors.get(self._served.model, subject)
        if known is None or known.model != resident.ref:
            return None
        self._telemetry.text_recalled(self._served.model)
        return known

    async def _current_ref(self) -> ModelRef | None:
        """Return the weights of the loaded model, or those on the disk."""
        resident = self._residency.residents.get(self._served.model)
        if resident is not None:
            return resident.ref
        ref: ModelRef | None = await self._workers.run(self._residency.installed_ref, self._served.model)
        return ref

    async def _read(self, text: str, context: Context) -> Inference[Any]:
        inference = await self._served.infer(text, context)
        if isinstance(inference.output, np.ndarray):
            self._vectors.keep(text, inference)
        return inference


def _bytes_of(text: str, inference: Inference[Embedding]) -> int:
    # A Python string has up to four bytes per character.
    return 4 * len(text) + int(inference.output.nbytes) + _ENTRY_BYTES
