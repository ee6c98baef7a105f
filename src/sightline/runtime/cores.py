"""How many processor cores this process may use: fewer than the machine has, in a container."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> float:
    """Physical cores, or what affinity and the container's quota leave of them."""
    cores = float(psutil.cpu_count(logical=False) or psutil.cpu_count() or 1)
    if sys.platform == "linux":
        cores = min(cores, len(os.sched_getaffinity(0)))
    quota, _, period = cgroup("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, int(quota) / int(period))
    return cores


def cgroup(name: str) -> str:
    """A file of this process's control group (version 2); empty where there is none."""
    try:
        return (CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
