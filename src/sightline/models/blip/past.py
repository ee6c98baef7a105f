"""The decoder's KV cache of the tokens before the newest, for all beams of several pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float32]
# Of the decoder's own type: f32, or bfloat16 as uint16.
States = NDArray[Any]

# Added to the attention score of a slot that is not in a beam's line. exp() of it is 0 in every float type.
_HIDDEN = np.float32(-1e4)

# Room for so many tokens at first, twice as many when it is used up: a graph prepares itself anew for each
# size it has not seen, and masked slots cost little (15.0 ms a step with room for 64 tokens, 14.4 for 16).
_FIRST_CAPACITY = 16


class Past:
    """Keys and values of past tokens, one slot for each beam of each step.

    Beams branch, so a token can belong to several of them. It is kept once and never moved: ``hidden`` says
    which slots are a beam's own line. A step writes one slot per beam and moves no other.
    """

    def __init__(
        self, parts: int, pictures: int, heads: int, beams: int, width: int, dtype: DTypeLike = np.float32
    ) -> None:
        self._beams = beams
        self._steps = 0
        self._states = np.zeros((parts, pictures, heads, _FIRST_CAPACITY * beams, width), dtype)
        self._hidden = np.full((pictures, beams, _FIRST_CAPACITY * beams), _HIDDEN, np.float32)

    @property
    def steps(self) -> int:
        """How many tokens each line has."""
        return self._steps

    @property
    def states(self) -> States:
        """[parts, pictures, heads, slots, width]"""
        return self._states

    @property
    def hidden(self) -> Floats:
        """[pictures, beams, slots], 0 where a slot is in the beam's line, else a large negative number."""
        return self._hidden

    def add(self, states: States, parents: NDArray[np.int64]) -> None:
        """One step further.

        Args:
            states: of the newest tokens, [parts, pictures, heads, beams, width].
            parents: which of these tokens' beams each beam goes on from, [pictures, beams].
        """
        at = self._steps * self._beams
        if at == self._states.shape[3]:
            self._grow()
        self._states[:, :, :, at : at + self._beams] = states
        own = np.arange(self._beams)
        self._hidden[:, own, at + own] = 0
        self._hidden = np.take_along_axis(self._hidden, parents[:, :, None], 1)
        self._steps += 1

    def keep(self, pictures: NDArray[np.int64]) -> None:
        """Forget all pictures but these."""
        self._states = np.take(self._states, pictures, 1)
        self._hidden = self._hidden[pictures]

    def _grow(self) -> None:
        self._states = np.concatenate((self._states, np.zeros_like(self._states)), 3)
        self._hidden = np.concatenate((self._hidden, np.full_like(self._hidden, _HIDDEN)), 2)
