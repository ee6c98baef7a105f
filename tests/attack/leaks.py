"""Tell a leak from noise: the growth of memory, files and threads per 1,000 requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import psutil

MIB = 2**20
# Per 1,000 requests. Noise is below 1 MB once all code has run. The first megabytes of a leak may fit
# into memory that the start of the process freed: a small leak shows in the long form only.
MAX_MEMORY_MIB = 5.0
MAX_FILES = 3.0
MAX_THREADS = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process holds after so many requests."""

    requests: int
    memory_bytes: int
    files: int
    threads: int

    @classmethod
    def of(cls, process: psutil.Process, requests: int) -> Sample:
        with process.oneshot():
            return cls(requests, process.memory_info().rss, process.num_fds(), process.num_threads())


def leaks(samples: Sequence[Sample]) -> list[str]:
    """Return a line per resource that grows by more than its limit."""
    limits: tuple[tuple[str, float, Callable[[Sample], float]], ...] = (
        ("MiB of memory", MAX_MEMORY_MIB, lambda sample: sample.memory_bytes / MIB),
        ("open files", MAX_FILES, lambda sample: sample.files),
        ("threads", MAX_THREADS, lambda sample: sample.threads),
    )
    found = []
    for name, limit, value in limits:
        growth = 1000 * _slope([(sample.requests, value(sample)) for sample in samples])
        if growth > limit:
            found.append(f"{growth:.1f} {name} per 1,000 requests; expected at most {limit:g}")
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): a single step does not count as growth."""
    return median((y - v) / (x - u) for (u, v), (x, y) in combinations(points, 2))
