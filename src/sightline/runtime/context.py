"""One request: its deadline, its priority and what it holds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from sightline.errors import DeadlineExceeded
from sightline.runtime.admission import OwnPlaces
from sightline.runtime.fairness import CALLER
from sightline.runtime.pixels import OwnPixels
from sightline.types import Priority


def _own_places() -> OwnPlaces:
    return OwnPlaces(CALLER.get())


@dataclass(frozen=True, slots=True)
class Context:
    """One request: how long it may take, how urgent it is, and what it holds in lanes and of the pixels.

    ``deadline`` is ``time.monotonic()`` seconds. ``caller`` is who asks, for fair shares of lanes.
    """

    deadline: float
    priority: Priority = Priority.INTERACTIVE
    caller: str = field(default_factory=CALLER.get)
    places: OwnPlaces = field(default_factory=_own_places, compare=False, repr=False)
    pixels: OwnPixels = field(default_factory=OwnPixels, compare=False, repr=False)

    @classmethod
    def lasting(cls, timeout_s: float, priority: Priority = Priority.INTERACTIVE) -> Context:
        return cls(time.monotonic() + timeout_s, priority)


class until:  # noqa: N801 - reads as a statement: async with until(context)
    """``asyncio.timeout`` to ``grace_s`` after a context's deadline; raises DeadlineExceeded."""

    def __init__(self, context: Context, grace_s: float = 0.0) -> None:
        self._timeout = asyncio.timeout(max(0.0, context.deadline + grace_s - time.monotonic()))

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exception: Any) -> None:
        try:
            await self._timeout.__aexit__(*exception)
        except TimeoutError:
            raise DeadlineExceeded("the request's time ran out") from None
