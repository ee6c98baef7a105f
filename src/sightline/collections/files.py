"""Files that are whole or not there, and JSON that knows when it was changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NEW_SUFFIX = ".new"
_SEAL = "sha256"


def write_whole(path: Path, data: bytes) -> None:
    """Let ``data`` appear under ``path`` in one step, on disk to the last byte. One writer at a time."""
    writing = path.with_name(path.name + NEW_SUFFIX)
    with writing.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    writing.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows which files there are. Folders cannot be opened for that on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sealed(body: Mapping[str, Any]) -> bytes:
    """``body`` as a JSON file with the digest of its content as a last field."""
    return json.dumps({**body, _SEAL: _digest(body)}, indent=2, allow_nan=False).encode() + b"\n"


def unsealed(data: bytes) -> dict[str, Any]:
    """Return the sealed content. Raises ValueError for anything else."""
    try:
        body = json.loads(data)
        if not isinstance(body, dict) or body.pop(_SEAL, None) != _digest(body):
            raise ValueError("the digest is not that of the content")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return body


def _digest(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
