"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# Errors in writing that the next file would meet too: no space, no quota, no right to any of the disk.
DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in the place of ``path``, which keeps its old content until the block has ended well,
    even through a power cut.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = temporary_in(path.parent)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def temporary_in(folder: Path) -> Path:
    """A name nobody has. Of fixed length: the file's own may be as long as names can be."""
    return folder / f".sightline-{uuid.uuid4().hex}.part"
