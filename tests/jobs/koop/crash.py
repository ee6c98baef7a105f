"""``python -m crash URLS OUT FIRST LAST N``: a download that is killed, as by kill -9, at its N-th fsync.

Every fsync is between a write and the moment it counts, so these are the points where a kill could do harm.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

from rig import Rig


def main() -> None:
    repository, reader, attachments, out, first, last, syncs = sys.argv[1:]
    left, fsync = int(syncs), os.fsync

    def deadly(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = deadly
    koop = SimpleNamespace(
        repository_url=repository,
        search_url=f"{repository}/sru",
        reader_url=reader,
        attachments_url=attachments,
        attachments_folder=f"{attachments}/externebijlagen",
    )
    asyncio.run(Rig(koop, Path(out)).run(date.fromisoformat(first), date.fromisoformat(last)))


if __name__ == "__main__":
    main()
