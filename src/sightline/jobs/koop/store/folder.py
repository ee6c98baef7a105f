"""The folder a download fills: one process at a time, and only where everything can be written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sightline.errors import InvalidRequest
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.store.blobs import Blobs

STATE_NAME = "koop.sqlite"
MANIFEST_NAME = "manifest.jsonl"
PARQUET_NAME = "manifest.parquet"
_LOCK_NAME = ".koop.lock"
# Errors in writing that every further file would meet too.
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
)


@contextmanager
def occupied(root: Path) -> Iterator[Blobs]:
    """Hold ``root`` alone, made if need be, and clear away what a killed process left in it.

    Raises:
        InvalidRequest: another download is using it, or it cannot be written.
    """
    lock = FileLock(root / _LOCK_NAME)
    blobs = Blobs(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        blobs.prepare()
    except Timeout:
        raise InvalidRequest(
            f"{root} is in use by another download; wait for its end, or give this one another --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        lock.release()
        raise InvalidRequest(f"{root} cannot be written: {reason_of(error)}") from error
    try:
        yield blobs
    finally:
        lock.release()


@contextmanager
def disk_trouble_ends_the_run(root: Path) -> Iterator[None]:
    """Turn errors that every further write would meet, such as a full disk, into RunEnded; pass others on."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise disk_ended(root, reason_of(error)) from error
        raise


def disk_ended(root: Path, reason: str) -> RunEnded:
    """The error of a run that cannot write any more."""
    return RunEnded(
        f"{root} cannot be written any more: {reason}. What is there is whole: "
        "make room, and the same command goes on from here"
    )


def reason_of(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
