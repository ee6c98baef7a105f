"""What is known of the hosts, written down while they are asked, for a process that may be killed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from sightline.jobs.koop.polite.bucket import Learned, most_unsaid
from sightline.jobs.koop.polite.clock import Clock
from sightline.jobs.koop.polite.policy import PolitenessPolicy

_EVERY_S = 5.0

Remember = Callable[[Mapping[str, Learned]], None]


class Memory:
    """Tells somebody what was learned: at once of a pause, else whenever a tenth of a burst was spent or a
    few seconds have passed since, if anything was asked.

    What is told has that tenth taken off already, so a process that is killed at any moment and started
    again sends no more than one that goes on.
    """

    def __init__(
        self, policy: PolitenessPolicy, clock: Clock, learned: Callable[[], Mapping[str, Learned]]
    ) -> None:
        self.remember: Remember | None = None
        self._clock = clock
        self._learned = learned
        self._most_unsaid = most_unsaid(policy)
        self._spent = 0
        self._told_at_s = -math.inf

    def spent(self) -> None:
        """A request goes out next, to whichever host."""
        self._spent += 1
        if self._spent >= self._most_unsaid or self._clock.now_s() - self._told_at_s >= _EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Now, whatever was told before."""
        self._spent = 0
        self._told_at_s = self._clock.now_s()
        if self.remember is not None:
            self.remember({origin: self._careful(each) for origin, each in self._learned().items()})

    def _careful(self, learned: Learned) -> Learned:
        return replace(learned, tokens=learned.tokens - self._most_unsaid)
