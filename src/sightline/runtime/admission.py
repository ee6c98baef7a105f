"""The places of one request in lanes. Its further items wait for these instead of being refused.

A full lane refuses a request's first item. Once a request is in, it must not be refused for its own items: a
hundred look-ups of one task would fill the lane and fail each other. A request may hold half of a lane. An
item beyond that waits until another item of the request is done, and takes over its place.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sightline.errors import DeadlineExceeded, Overloaded
from sightline.runtime.lanes import Held, Lane, Place
from sightline.types import Priority

# Of a lane's places and bytes, for one request.
REQUEST_SHARE = 0.5


@dataclass(slots=True)
class _Waiting:
    num_bytes: int
    priority: Priority
    place: asyncio.Future[Place]


@dataclass(slots=True)
class _Own:
    """One request in one lane."""

    held: Held
    caller: str
    waiting: deque[_Waiting] = field(default_factory=deque)

    def take(self, lane: Lane, num_bytes: int, priority: Priority) -> Place | None:
        """A place, or None where items of this request have to end first.

        Raises:
            Overloaded: others fill the lane.
        """
        if not self.held.has_room(num_bytes):
            return None
        try:
            return lane.admit(num_bytes, priority, self.held, caller=self.caller)
        except Overloaded:
            if self.held.items:
                return None
            raise

    def hand_over(self, lane: Lane) -> None:
        """Let those in that wait, after a place was given back."""
        while self.waiting:
            first = self.waiting[0]
            if not first.place.done():
                try:
                    place = self.take(lane, first.num_bytes, first.priority)
                except Overloaded as error:
                    first.place.set_exception(error)
                else:
                    if place is None:
                        return
                    first.place.set_result(place)
            self.waiting.popleft()


class OwnPlaces:
    """The places of one request of ``caller`` in all lanes. Belongs to one event loop."""

    def __init__(self, caller: str = "") -> None:
        self._caller = caller
        self._lanes: dict[str, _Own] = {}

    @asynccontextmanager
    async def place(
        self, lane: Lane, num_bytes: int, priority: Priority, deadline: float
    ) -> AsyncIterator[Place]:
        """Hold a place in ``lane`` for one item; see ``Lane.admitted``.

        Raises:
            Overloaded: the lane is full, and no item of this request is in it.
            DeadlineExceeded: none of them ended before ``deadline``, in ``time.monotonic()`` seconds.
        """
        own = self._lanes.get(lane.model)
        if own is None:
            own = self._lanes[lane.model] = _Own(lane.share(REQUEST_SHARE), self._caller)
        place = None if own.waiting else own.take(lane, num_bytes, priority)
        if place is None:
            place = await self._wait(own, lane, _Waiting(num_bytes, priority, _future()), deadline)
        try:
            yield place
        finally:
            place.give_back()
            own.hand_over(lane)

    async def _wait(self, own: _Own, lane: Lane, waiting: _Waiting, deadline: float) -> Place:
        own.waiting.append(waiting)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.shield(waiting.place)
        except (TimeoutError, asyncio.CancelledError) as ended:
            # It may have been given the place at that very moment.
            if not waiting.place.cancel() and not waiting.place.exception():
                waiting.place.result().give_back()
                own.hand_over(lane)
            if isinstance(ended, TimeoutError):
                raise DeadlineExceeded("the request's time ran out before its turn came") from None
            raise


def _future() -> asyncio.Future[Place]:
    return asyncio.get_running_loop().create_future()
