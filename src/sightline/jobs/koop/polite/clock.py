"""Time, as something that can be handed in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """``now_s`` only ever grows; ``unix_s`` is the calendar's; ``sleep`` takes seconds."""

    now_s: Callable[[], float]
    unix_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


SYSTEM_CLOCK = Clock(time.monotonic, time.time, asyncio.sleep)
