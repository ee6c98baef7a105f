"""The process's budget of decoded pixels. A picture is admitted by its header, before it is decoded.

A file of 38 bytes may hold 50 million pixels, so the size of files bounds nothing. A picture counts with four
bytes per pixel, as Pillow keeps them, from before it is first decoded until its request lets go of it and the
threads that still decode it have ended: a decoder cannot be interrupted.

A picture waits while the budget is full. The request that holds the least goes first, and none may hold more
than half, so that sixteen large pictures in one request do not take the time of everybody else. A request
that holds nothing is refused when many wait already.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from sightline.errors import DeadlineExceeded, Overloaded
from sightline.imaging import Picture
from sightline.runtime.memory import MemoryGuard

BYTES_PER_PIXEL = 4
REQUEST_SHARE = 0.5
RETRY_AFTER_S = 1


@dataclass(eq=False, slots=True)
class OwnPixels:
    """The pixels that one request holds."""

    num_bytes: int = 0
    waiting: int = 0
    _threads: asyncio.Semaphore | None = None

    def threads(self, most: int) -> asyncio.Semaphore:
        """Bounds the threads that decode for the request, those nobody waits for any more included."""
        if self._threads is None:
            self._threads = asyncio.Semaphore(most)
        return self._threads


@dataclass(eq=False, slots=True)
class _Held:
    """A picture that counts. ``decoding``: calls that may be at it, on other threads."""

    num_bytes: int
    own: OwnPixels
    decoding: int = 0
    is_left: bool = False
    is_returned: bool = False
    freed: weakref.finalize[..., Picture] | None = None


@dataclass(eq=False, slots=True)
class _Waiting:
    pictures: tuple[Picture, ...]
    own: OwnPixels
    admitted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class PixelBudget:
    """Belongs to one event loop."""

    def __init__(self, max_bytes: int, max_waiting: int, guard: MemoryGuard) -> None:
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._guard = guard
        self._held: weakref.WeakKeyDictionary[Picture, _Held] = weakref.WeakKeyDictionary()
        self._waiting: list[_Waiting] = []
        self.num_bytes = 0

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    async def admit(self, pictures: Iterable[Picture], own: OwnPixels, deadline: float) -> None:
        """Count the pictures, all at once, when there is room. Those that count already are let through.

        Raises:
            MemoryLow: memory is low.
            Overloaded: too many wait, and this request holds nothing.
            DeadlineExceeded: there was no room until ``deadline``, in ``time.monotonic()`` seconds.
        """
        wanted = tuple(dict.fromkeys(pictures))
        new = self._new(wanted)
        if not new:
            return
        self._guard.require()
        if not self._waiting and self._has_room(new, own):
            self._count(new, own)
            return
        if not own.num_bytes and not own.waiting and len(self._waiting) >= self._max_waiting:
            raise Overloaded("decoded pictures take all the memory they may", RETRY_AFTER_S)
        await self._wait(_Waiting(wanted, own), deadline)

    def decoding(self, pictures: Iterable[Picture], after: Callable[[], None]) -> Callable[[], None]:
        """Note that a thread may decode the pictures. Returns what to call at its end, from any thread.

        ``after`` is called then, on the event loop.
        """
        here = [held for picture in set(pictures) if (held := self._held.get(picture)) is not None]
        for held in here:
            held.decoding += 1
        loop = asyncio.get_running_loop()

        def ended() -> None:
            with suppress(RuntimeError):  # the loop is closed, and with it the budget
                loop.call_soon_threadsafe(self._decoded, here, after)

        return ended

    def leave(self, picture: Picture) -> None:
        """Its request needs it no more. It counts until the threads that decode it have ended."""
        held = self._held.get(picture)
        if held is not None:
            self._let_go(held)

    async def _wait(self, waiting: _Waiting, deadline: float) -> None:
        self._waiting.append(waiting)
        waiting.own.waiting += 1
        self._let_in()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await waiting.admitted
        except TimeoutError:
            raise DeadlineExceeded("the request's time ran out before its turn came") from None
        finally:
            waiting.own.waiting -= 1
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._let_in()

    def _let_in(self) -> None:
        """Admit those there is room for. Nobody overtakes the request that holds the least, unless it is
        its own share that has no room."""
        while True:
            able = [each for each in self._waiting if self._has_share(self._new(each.pictures), each.own)]
            if not able:
                return
            first = min(able, key=lambda each: each.own.num_bytes)
            new = self._new(first.pictures)
            if not self._has_room(new, first.own):
                return
            self._waiting.remove(first)
            if not first.admitted.done():
                self._count(new, first.own)
                first.admitted.set_result(None)

    def _new(self, pictures: Iterable[Picture]) -> list[Picture]:
        """Return the pictures that do not count yet. Take up again those that are still being decoded."""
        new = []
        for picture in pictures:
            held = self._held.get(picture)
            if held is None:
                new.append(picture)
            else:
                held.is_left = False
        return new

    def _has_share(self, pictures: list[Picture], own: OwnPixels) -> bool:
        return not own.num_bytes or own.num_bytes + _bytes_of(pictures) <= self._max_bytes * REQUEST_SHARE

    def _has_room(self, pictures: list[Picture], own: OwnPixels) -> bool:
        """Return whether there is room. A picture larger than the whole budget is admitted alone."""
        fits = not self.num_bytes or self.num_bytes + _bytes_of(pictures) <= self._max_bytes
        return fits and self._has_share(pictures, own)

    def _count(self, pictures: Iterable[Picture], own: OwnPixels) -> None:
        loop = asyncio.get_running_loop()
        for picture in pictures:
            held = _Held(_bytes_of([picture]), own)
            self._held[picture] = held
            own.num_bytes += held.num_bytes
            self.num_bytes += held.num_bytes
            # A picture that nobody leaves is left when it is freed, on whichever thread that is.
            held.freed = weakref.finalize(picture, self._freed, loop, held)
            held.freed.atexit = False

    def _freed(self, loop: asyncio.AbstractEventLoop, held: _Held) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._let_go, held)

    def _decoded(self, pictures: Iterable[_Held], after: Callable[[], None]) -> None:
        after()
        for held in pictures:
            held.decoding -= 1
            if held.is_left:
                self._let_go(held)

    def _let_go(self, held: _Held) -> None:
        held.is_left = True
        if held.decoding or held.is_returned:
            return
        held.is_returned = True
        if held.freed is not None:
            living = held.freed.detach()
            if living is not None:
                self._held.pop(living[0], None)
        held.own.num_bytes -= held.num_bytes
        self.num_bytes -= held.num_bytes
        self._let_in()


def _bytes_of(pictures: Iterable[Picture]) -> int:
    return sum(BYTES_PER_PIXEL * picture.width * picture.height for picture in pictures)
