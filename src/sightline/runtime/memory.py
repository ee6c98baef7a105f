"""How much of the memory that this process may use is in use, and when to do with less.

The limit is the tightest of: each control group above the process (version 2 or 1, as containers and systemd
set them), and what the machine can still give to this process. Pages of files do not count: the kernel takes
them back when it needs them.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from sightline.errors import MemoryLow

_log = logging.getLogger(__name__)

# Reading the files below takes 50 µs; under load that would be once per picture.
_FRESH_S = 0.1
_LOOK_S = 1.0
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """``used_bytes`` of ``limit_bytes``, where the least is left."""

    used_bytes: int
    limit_bytes: int

    @property
    def share(self) -> float:
        return self.used_bytes / self.limit_bytes


def usage(root: Path = Path("/")) -> Usage:
    """Return the usage of the limit that is nearest to being reached. ``root``: where /proc and /sys are."""
    return max((_machine(), *_groups(root)), key=lambda each: each.share)


def limit_bytes(root: Path = Path("/")) -> int:
    """Return the least of the limits."""
    return min(int(psutil.virtual_memory().total), *(each.limit_bytes for each in _groups(root)), sys.maxsize)


def _machine() -> Usage:
    """Return this process's memory, and the limit without other programs' memory, which it cannot free."""
    own, available = int(psutil.Process().memory_info().rss), int(psutil.virtual_memory().available)
    return Usage(own, own + available)


def _groups(root: Path) -> Iterator[Usage]:
    """The groups with a limit, of this process up to the root."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        # A container may see the path that the host knows the group by, and only its root in the mount.
        for group in dict.fromkeys((*_upwards(mount, path), mount)):
            limit, used = _number(group / names[0]), _number(group / names[1])
            if limit and used is not None:
                yield Usage(max(0, used - _page_cache(group)), limit)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    inside = PurePosixPath(path.lstrip("/"))
    for part in (inside, *inside.parents):
        if ".." not in part.parts:
            yield mount / part


def _page_cache(group: Path) -> int:
    """Bytes of file pages, which can be taken back. Version 1 sums its children up in ``total_`` lines."""
    lines = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
    prefix = "total_" if "total_inactive_file" in lines else ""
    return sum(int(lines.get(f"{prefix}{kind}_file", "0")) for kind in ("inactive", "active"))


def _number(path: Path) -> int | None:
    """None for no limit: ``max``, and in version 1 a number larger than any memory."""
    text = _text(path)
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class MemoryGuard:
    """Refuses heavy work when memory gets low, and says when to let go of what can be had again.

    Args:
        refuse_percent, drop_percent: of the limit; 100: never.
    """

    def __init__(self, refuse_percent: float, drop_percent: float) -> None:
        self._refuse_share = refuse_percent / 100
        self._drop_share = drop_percent / 100
        self._known: tuple[float, Usage] | None = None

    @property
    def is_low(self) -> bool:
        """Whether heavy work is refused."""
        return self._refuse_share < 1 and self._usage().share >= self._refuse_share

    @property
    def is_critical(self) -> bool:
        """Whether everything that is not in use should go."""
        return self._drop_share < 1 and self._usage().share >= self._drop_share

    def require(self) -> None:
        """Raises MemoryLow while memory is low."""
        if self.is_low:
            raise MemoryLow(f"memory is low: {self._usage().share:.0%} of the limit is in use", RETRY_AFTER_S)

    def _usage(self) -> Usage:
        now = time.monotonic()
        if self._known is None or now - self._known[0] > _FRESH_S:
            self._known = (now, usage())
        return self._known[1]


async def relieve(
    guard: MemoryGuard, forget: Callable[[], None], unload_idle: Callable[[int | None], None]
) -> None:
    """Drop what can be had again while memory is low; runs until cancelled.

    Args:
        forget: empties caches; called when memory is critical.
        unload_idle: unloads so many models that nobody uses, or all.
    """
    was_critical = False
    while True:
        await asyncio.sleep(_LOOK_S)
        is_critical = guard.is_critical
        if is_critical and not was_critical:
            _log.warning("memory is nearly used up: caches and idle models are dropped")
        was_critical = is_critical
        if is_critical:
            forget()
            unload_idle(None)
        elif guard.is_low:
            unload_idle(1)
        else:
            continue
        await asyncio.to_thread(return_memory)


def return_memory() -> None:
    """Give freed pages back to the system: neither Python nor glibc does so by itself."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)
