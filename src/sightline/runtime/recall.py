"""What text models said: a bounded memory, so that a label asked of a thousand pictures is read once, and
one reading for whoever asks meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.embedding import Embedding
from sightline.errors import DeadlineExceeded
from sightline.operations import Inference
from sightline.runtime.telemetry import Trace, current_trace, traced

# What an entry takes besides its text and numbers: key, array and reference objects, roughly.
_ENTRY_BYTES = 500


class TextVectors:
    """Vectors by model and text, the least recently asked for forgotten first. Belongs to one event loop.

    An entry is good for the very weights that made it: whoever asks compares ``Inference.model``.
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
        """What ``model`` said of ``text``, with whichever weights it had then."""
        found = self._kept.get((model, text))
        if found is not None:
            self._kept.move_to_end((model, text))
        return found

    def keep(self, text: str, inference: Inference[Embedding]) -> None:
        """Remember a vector, in place of an older one. It is made read-only: many will share it."""
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
    task: asyncio.Task[tuple[Inference[Embedding], Trace]]
    waiting: int = 0


class Readings:
    """Texts that are being read: eight pictures that come to a cold server with the same labels have them
    read once, and do not fill the lane with eight times as many. Belongs to one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, str], _Reading] = {}

    async def share(
        self, model: str, text: str, read: Callable[[], Awaitable[Inference[Embedding]]], deadline: float
    ) -> Inference[Embedding]:
        """What ``read`` gives, or another's reading of the same text. It ends when nobody waits any more.

        Raises like ``read``. If another's ran out of its own time before ``deadline``, it is read anew.
        """
        while True:
            try:
                return await self._wait_for(self._reading((model, text), read))
            except DeadlineExceeded:
                if time.monotonic() >= deadline:
                    raise

    def _reading(self, key: tuple[str, str], read: Callable[[], Awaitable[Inference[Embedding]]]) -> _Reading:
        reading = self._under_way.get(key)
        if reading is None:
            reading = self._under_way[key] = _Reading(key, asyncio.create_task(traced(read)))
            reading.task.add_done_callback(lambda _: self._forget(reading))
        return reading

    async def _wait_for(self, reading: _Reading) -> Inference[Embedding]:
        reading.waiting += 1
        try:
            inference, trace = await asyncio.shield(reading.task)
        finally:
            reading.waiting -= 1
            if not reading.waiting:
                self._forget(reading)  # whoever comes now must not wait for what is being cancelled
                reading.task.cancel()
        current_trace().add(trace)
        return inference

    def _forget(self, reading: _Reading) -> None:
        if self._under_way.get(reading.key) is reading:
            del self._under_way[reading.key]


def _bytes_of(text: str, inference: Inference[Embedding]) -> int:
    # A Python string has up to four bytes per character.
    return 4 * len(text) + int(inference.output.nbytes) + _ENTRY_BYTES
