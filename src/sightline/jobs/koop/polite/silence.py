"""Since when a host owes an answer, and what is done meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from sightline.errors import HostSilent
from sightline.jobs.koop.polite.clock import Clock


class Doing(StrEnum):
    """What the client does about a host that does not answer."""

    ASKING = "asking"
    """A request is under way."""
    RETRY_AFTER = "retry-after"
    """Nothing: the host asked for this pause."""
    PAUSING = "pausing"
    """Nothing: the host said that it was too much, and not for how long."""
    LEAVING_ALONE = "leaving-alone"
    """Nothing: it failed too often in a row. Then one request tries."""
    BACKING_OFF = "backing-off"
    """Nothing: the next try of a document has a while to go."""
    IN_TURN = "in-turn"
    """Nothing: at the present rate the next request has a while to go."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A host that owes an answer.

    Attributes:
        origin: such as ``https://repository.overheid.nl``.
        since_unix_s: when it was last heard, or first asked if that was later.
        for_s: seconds for which an answer has been waited for.
        until_unix_s: when something else will be done; None while it is the host's turn.
        reason: what went wrong last, if anything did.
    """

    origin: str
    since_unix_s: float
    for_s: float
    doing: Doing
    until_unix_s: float | None
    reason: str | None


class Hearing:
    """Whether one host is heard. Only time in which somebody wants something of it counts.

    Args:
        patience_s: how long its silence is borne.
    """

    def __init__(self, origin: str, patience_s: float, clock: Clock) -> None:
        self._origin = origin
        self._patience_s = patience_s
        self._clock = clock
        self._wanted = 0
        self._since_s: float | None = None
        self._unwanted_at_s = clock.now_s()
        self._rests_until_s: list[float] = []
        self.reason: str | None = None
        self._status: int | None = None

    @property
    def silent_s(self) -> float | None:
        """Seconds for which an answer has been waited for; None if nobody waits for one."""
        if not self._wanted or self._since_s is None:
            return None
        return self._clock.now_s() - self._since_s

    @property
    def is_answered(self) -> bool:
        """Whether the last thing that was wanted came."""
        return self.reason is None

    @property
    def rests_until_s(self) -> float | None:
        """When the first of those that wait for their next try goes on, by the clock's ``now_s``."""
        return min(self._rests_until_s, default=None)

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """The block wants something of the host."""
        now_s = self._clock.now_s()
        if self._since_s is None:
            self._since_s = now_s
        elif not self._wanted:
            self._since_s += now_s - self._unwanted_at_s
        self._wanted += 1
        try:
            yield
        finally:
            self._wanted -= 1
            if not self._wanted:
                self._unwanted_at_s = self._clock.now_s()
                if self.is_answered:
                    self._since_s = None

    def heard(self) -> None:
        """The host has said something of use."""
        self.reason = self._status = None
        self._since_s = self._clock.now_s() if self._wanted else None

    def begin_anew(self, in_s: float) -> None:
        """Count silence from ``in_s`` seconds from now on, whatever was before."""
        self._unwanted_at_s = self._clock.now_s()
        self._since_s = self._unwanted_at_s + in_s

    def failed(self, reason: str, status: int | None = None) -> None:
        """It has not, or not what it should have."""
        self.reason, self._status = reason, status

    async def rest(self, seconds: float) -> None:
        """Wait before another try.

        Raises:
            HostSilent: there is no patience left for one.
        """
        until_s = self._clock.now_s() + seconds
        self._rests_until_s.append(until_s)
        try:
            await self._clock.sleep(seconds)
        finally:
            self._rests_until_s.remove(until_s)
        self.require_patience(0.0)

    def require_patience(self, wait_s: float) -> None:
        """Raises HostSilent: patience would be over before a wait of ``wait_s`` is."""
        silent_s = self.silent_s or 0.0
        if silent_s + wait_s <= self._patience_s:
            return
        why = "" if self.reason is None else f" ({self.reason})"
        waited = f"for {silent_s / 60:.3g} minutes"
        if wait_s > 0:
            waited += f" and will not be asked for another {wait_s / 60:.3g}"
        raise HostSilent(
            f"{self._origin} has given no answer {waited}{why}; it is waited for at most "
            f"{self._patience_s / 60:.3g} minutes",
            status=self._status,
        )
