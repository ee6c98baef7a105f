"""Beam search: one picture's likeliest caption, one step at a time.

The rules are those of ``generate(num_beams=N, early_stopping=True, length_penalty=1.0, do_sample=False)`` in
the transformers library for a prompt of one token, and ids come out the same. Where two candidates have the
same score, which that library leaves open, the one of the better beam and then of the smaller id is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]

# Score of beams that are not there yet. All beams begin with the same token; only the first may be continued.
_NOWHERE = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class Rules:
    """Captions begin with the token ``begin``, which counts, and have at most ``max_length`` >= 2 tokens.

    They end with the token ``end``, unless they grow too long.
    """

    begin: int
    end: int
    max_length: int


class Search(Protocol):
    """One picture's search. While it is not ``done``, ``newest`` goes to the decoder and logits come back."""

    @property
    def done(self) -> bool: ...

    @property
    def newest(self) -> Ids:
        """Last token of each running beam, int64 [beams]."""
        ...

    def advance(self, logits: Logits) -> Ids:
        """One token further.

        Args:
            logits: of the token after ``newest``, float32 [beams, vocabulary].

        Returns:
            Which of the beams before each beam now goes on from, int64 [beams].
        """
        ...

    def best(self) -> list[int]:
        """The caption, from its first token to its end token if it has one."""
        ...


def begin(num_beams: int, rules: Rules) -> Search:
    """A search at its first token."""
    return GreedySearch(rules) if num_beams == 1 else BeamSearch(num_beams, rules)


class GreedySearch:
    """The likeliest token each time."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._line = [rules.begin]

    @property
    def done(self) -> bool:
        ended = len(self._line) > 1 and self._line[-1] == self._rules.end
        return ended or len(self._line) >= self._rules.max_length

    @property
    def newest(self) -> Ids:
        return np.array(self._line[-1:], np.int64)

    def advance(self, logits: Logits) -> Ids:
        self._line.append(int(logits[0].argmax()))
        return np.zeros(1, np.int64)

    def best(self) -> list[int]:
        return self._line


class BeamSearch:
    """The ``num_beams`` likeliest lines side by side, until as many have come to an end.

    A line's score is the sum of its tokens' log probabilities; an ended line's is divided by the number of
    its tokens, the first one not counted. All in float32, as in the library.
    """

    def __init__(self, num_beams: int, rules: Rules) -> None:
        self._num_beams = num_beams
        self._rules = rules
        self._lines = [[rules.begin]] * num_beams
        self._scores = np.full(num_beams, _NOWHERE, np.float32)
        self._scores[0] = 0
        self._ended: list[tuple[np.float32, list[int]]] = []  # best first

    @property
    def done(self) -> bool:
        # The library also stops when no running line can beat the worst ended one. It asks that only once
        # there are num_beams ended ones, and that is where early stopping ends the search anyway.
        return len(self._ended) == self._num_beams or self._length >= self._rules.max_length

    @property
    def newest(self) -> Ids:
        return np.array([line[-1] for line in self._lines], np.int64)

    def advance(self, logits: Logits) -> Ids:
        totals = (log_softmax(logits) + self._scores[:, None]).ravel()
        # A line can end in one way only, so of twice as many candidates at least num_beams go on.
        chosen = largest(totals, 2 * self._num_beams)
        scores = totals[chosen]
        parents, tokens = np.divmod(chosen, logits.shape[1])
        lines = [[*self._lines[parent], int(token)] for parent, token in zip(parents, tokens, strict=True)]
        ends = tokens == self._rules.end
        if self._length + 1 >= self._rules.max_length:
            ends[:] = True
        # An ended line that is not among the first num_beams candidates is lost: the library's rule too.
        for rank in np.flatnonzero(ends[: self._num_beams]):
            self._ended.append((scores[rank] / np.float32(self._length), lines[rank]))
        self._ended = sorted(self._ended, key=lambda ended: -ended[0])[: self._num_beams]
        going_on = np.flatnonzero(~ends)[: self._num_beams] if not ends.all() else np.arange(self._num_beams)
        self._lines = [lines[rank] for rank in going_on]
        self._scores = scores[going_on]
        return parents[going_on]

    def best(self) -> list[int]:
        return self._ended[0][1]

    @property
    def _length(self) -> int:
        return len(self._lines[0])


def log_softmax(logits: Logits) -> Logits:
    """Along the last axis, in float32."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def largest(values: Logits, count: int) -> Ids:
    """Indices of the ``count`` largest of ``values``, largest first; of equals the smaller index first."""
    least = np.partition(values, -count)[-count]
    candidates = np.flatnonzero(values >= least)
    order = np.lexsort((candidates, -values[candidates]))
    result: Ids = candidates[order[:count]]
    return result
