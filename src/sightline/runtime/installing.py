"""Progress of installing one model: bytes, rate, and how long it will still take."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sightline.weights.wanted import Wanted

# The rate is that of the last seconds: long enough to bridge a stall, short enough to follow a change.
_WINDOW_S = 15.0
_SAMPLE_EVERY_S = 0.25
# Converting the largest checkpoint and opening its graphs take about this long on two cores.
_CONVERSION_S = 10
_LEAST_RETRY_S, _MOST_RETRY_S = 5, 600


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at an installation.

    Attributes:
        step: the file that is arriving or the step of conversion.
        done_bytes, total_bytes: of all downloads together; the total is None if a size is unknown.
        bytes_per_s: over the last seconds; 0 before anything has arrived.
    """

    step: str
    done_bytes: int
    total_bytes: int | None
    bytes_per_s: float

    @property
    def words(self) -> str:
        """The installation in words, such as "120 MB of 605 MB at 12.5 MB/s"."""
        done = f"{self.done_bytes / 1e6:,.0f} MB"
        if self.total_bytes is not None and self.done_bytes >= self.total_bytes:
            return f"{done} are here, {self.step} is being made"
        of = "" if self.total_bytes is None else f" of {self.total_bytes / 1e6:,.0f} MB"
        return f"{done}{of} at {self.bytes_per_s / 1e6:,.1f} MB/s"

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until the model is probably ready, between 5 and 600."""
        if self.total_bytes is None or self.bytes_per_s <= 0:
            return _LEAST_RETRY_S if self.total_bytes is None else _MOST_RETRY_S
        remaining_s = max(0, self.total_bytes - self.done_bytes) / self.bytes_per_s
        return min(_MOST_RETRY_S, max(_LEAST_RETRY_S, math.ceil(remaining_s) + _CONVERSION_S))


class Installing:
    """A ``Report`` of the weights store that can be read while it is written. Thread-safe."""

    def __init__(self, want: Wanted, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[str, int | None] = {
            artifact.name: artifact.size_bytes for artifact in want.artifacts if artifact.is_downloaded
        }
        self._done: dict[str, int] = {}
        self._step = ""
        self._arrived = 0
        self._samples: deque[tuple[float, int]] = deque()

    def __call__(self, label: str, done: int, total: int | None) -> None:
        with self._lock:
            self._step = label
            if label not in self._sizes:
                return
            if total is not None:
                self._sizes[label] = total
            # Bytes of an earlier attempt are done, not speed. A file in an archive starts again when it is
            # taken out.
            before = self._done.get(label)
            if before is not None:
                self._arrived += max(0, done - before)
            self._done[label] = done if before is None else max(done, before)
            self._sample(self._clock())

    def progress(self) -> Progress:
        """Return where the installation is now."""
        with self._lock:
            sizes = self._sizes.values()
            total = None if None in sizes else sum(size or 0 for size in sizes)
            return Progress(self._step, sum(self._done.values()), total, self._rate(self._clock()))

    def _sample(self, now: float) -> None:
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_EVERY_S:
            self._samples.append((now, self._arrived))
        while len(self._samples) > 2 and now - self._samples[1][0] > _WINDOW_S:
            self._samples.popleft()

    def _rate(self, now: float) -> float:
        if not self._samples or now <= self._samples[0][0]:
            return 0.0
        since, before = self._samples[0]
        return (self._arrived - before) / (now - since)
