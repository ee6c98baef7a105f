"""The folder in which uploads above a megabyte are buffered."""

from __future__ import annotations

import shutil
import tempfile

OK = "ok"
# More than any buffer: a file system that is full takes a file, and refuses what is in it.
_PROBE = b"\0" * 4096


def temp_folder_state(min_free_bytes: int = 0) -> str:
    """Return ``ok``, or what is wrong with the folder. Writes to the disk; call it on a thread."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(_PROBE)
        free_bytes = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    if free_bytes < min_free_bytes:
        return f"almost full ({free_bytes} bytes free; expected at least {min_free_bytes})"
    return OK
