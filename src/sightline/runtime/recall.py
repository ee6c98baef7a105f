"""What text models said: a bounded memory, so that a label asked of a thousand pictures is read once."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from sightline.operations import Inference

# What an entry takes besides its text and numbers: key, array and reference objects, roughly.
_ENTRY_BYTES = 500


class TextVectors:
    """Vectors by model and text, the least recently asked for forgotten first. Belongs to one event loop.

    An entry is good for the very weights that made it: whoever asks compares ``Inference.model``.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[tuple[str, str], Inference] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory of all entries, estimated; at most ``max_bytes``."""
        return self._num_bytes

    def get(self, model: str, text: str) -> Inference | None:
        """What ``model`` said of ``text``, with whichever weights it had then."""
        found = self._kept.get((model, text))
        if found is not None:
            self._kept.move_to_end((model, text))
        return found

    def keep(self, text: str, inference: Inference) -> None:
        """Remember a vector, in place of an older one. It is made read-only: many will share it."""
        vector: NDArray[np.float32] = inference.output
        vector.flags.writeable = False
        key = (inference.model.name, text)
        self._forget(key)
        self._kept[key] = inference
        self._num_bytes += _bytes_of(text, inference)
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: tuple[str, str]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._num_bytes -= _bytes_of(key[1], found)


def _bytes_of(text: str, inference: Inference) -> int:
    # A Python string has up to four bytes per character.
    return 4 * len(text) + int(inference.output.nbytes) + _ENTRY_BYTES
