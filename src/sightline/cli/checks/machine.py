"""The machine: processor, memory, disk."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from sightline.cli.checks import Finding, State
from sightline.cli.console import megabytes
from sightline.runtime import cores

if TYPE_CHECKING:
    from sightline.settings import Settings

_AREA = "machine"
# Flags of /proc/cpuinfo that decide how fast graphs run, slowest first.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
# Rules of thumb, not measured: room for all models on disk, and for two of the largest in memory.
_DISK_BYTES = 5_000_000_000
_MEMORY_BYTES = 4_000_000_000


def check(settings: Settings | None) -> Iterator[Finding]:
    yield Finding(_AREA, "system", State.OK, f"{platform.platform(terse=True)}, {platform.machine()}")
    yield _processor()
    yield _cores(settings)
    yield _memory()
    if settings is not None:
        yield _disk(settings.models_dir.expanduser())


def _processor() -> Finding:
    facts = _cpu_facts()
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    found = [feature.upper() for feature in _FEATURES if feature in flags]
    text = f"{name}; {', '.join(found)}" if found else name
    if platform.machine() in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        return Finding(
            _AREA, "processor", State.NOTICE, f"{text}; no AVX2, so models run several times slower",
            "use a processor of 2015 or later, or let the virtual machine see the host's features",
        )  # fmt: skip
    return Finding(_AREA, "processor", State.OK, text)


@cache
def _cpu_facts() -> dict[str, str]:
    """Of the first processor in /proc/cpuinfo; empty where there is none, as on macOS and Windows."""
    facts: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return facts
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    return facts


def _cores(settings: Settings | None) -> Finding:
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    usable = cores.usable_cores()
    threads = (settings.threads if settings else 0) or max(1, int(usable))
    text = f"{physical} cores, {psutil.cpu_count() or 1} threads; one inference uses {threads}"
    if usable < threads:
        return Finding(
            _AREA, "cores", State.NOTICE, f"{text}, and this process may use {usable:g}",
            f"SIGHTLINE_THREADS={max(1, int(usable))}",
        )  # fmt: skip
    return Finding(_AREA, "cores", State.OK, text)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit = cores.cgroup("memory.max")
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        available = min(available, total - int(cores.cgroup("memory.current") or 0))
    text = f"{megabytes(available)} free of {megabytes(total)}"
    if available < _MEMORY_BYTES:
        return Finding(
            _AREA, "memory", State.NOTICE, f"{text}; the largest models may not fit beside each other",
            f"SIGHTLINE_MEMORY_BUDGET_MIB={max(256, available // 2**21)}",
        )  # fmt: skip
    return Finding(_AREA, "memory", State.OK, text)


def _disk(models_dir: Path) -> Finding:
    """Looks at the nearest folder that exists, which is where the missing ones would be made."""
    subject = "models folder"
    folder = models_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding(
            _AREA, subject, State.BROKEN, f"{models_dir} cannot be written",
            "make it writable, or set SIGHTLINE_MODELS_DIR to a folder that is",
        )  # fmt: skip
    free = shutil.disk_usage(folder).free
    text = f"{models_dir}, {megabytes(free)} free"
    if free < _DISK_BYTES:
        return Finding(
            _AREA, subject, State.NOTICE, f"{text}; too little for all models",
            "free some space, or set SIGHTLINE_MODELS_DIR to a larger disk",
        )  # fmt: skip
    return Finding(_AREA, subject, State.OK, text)
