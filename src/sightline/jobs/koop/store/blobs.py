"""Files named by their content: ``blobs/ab/cd/<sha256>.<extension>``, complete or not there at all.

A file is written in ``incoming`` beside them and renamed, so what a killed process leaves lies in one folder
and is thrown away at the next start.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

FOLDER = "blobs"
_INCOMING = "incoming"
_PART = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z0-9]+")


class Blobs:
    """The files below ``root/blobs``. Paths in and out are relative to ``root``, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / FOLDER / _INCOMING

    def prepare(self) -> None:
        """Make the folders and remove what an ended process had not finished.

        Raises:
            OSError: they cannot be written.
        """
        self._incoming.mkdir(parents=True, exist_ok=True)
        for stray in self._incoming.iterdir():
            stray.unlink()

    @staticmethod
    def digest(data: bytes) -> str:
        """What ``data`` is called: its sha256, 64 hex digits."""
        return hashlib.sha256(data).hexdigest()

    def put(self, data: bytes, sha256: str, extension: str) -> str:
        """Keep ``data`` under its digest; returns its path. Bytes that are here are not written again.

        Raises:
            OSError: it cannot be written; nothing is left behind.
        """
        path = blob_path(sha256, extension)
        target = self.root / path
        if not target.exists():
            self._write(target, data)
        return path

    def read(self, path: str) -> bytes:
        """Raises OSError: it is not here, or not readable."""
        return (self.root / path).read_bytes()

    def has(self, path: str) -> bool:
        return (self.root / path).is_file()

    def remove(self, path: str) -> None:
        """Let go of a file, if it is here."""
        (self.root / path).unlink(missing_ok=True)

    def paths(self, since_s: float) -> Iterator[str]:
        """Files written since a moment (seconds since 1970), in no order and as they are found: folders may
        have any number. What is not named as :meth:`put` does, or lies behind a link, is none of them."""
        for first in _folders(self.root / FOLDER):
            for second in _folders(first):
                for entry in _entries(second):
                    is_ours = _NAME.fullmatch(entry.name) and entry.name[:4] == first.name + second.name
                    if not (is_ours and entry.is_file(follow_symlinks=False)):
                        continue
                    if entry.stat(follow_symlinks=False).st_mtime >= since_s:
                        yield str(PurePosixPath(FOLDER, first.name, second.name, entry.name))

    def _write(self, target: Path, data: bytes) -> None:
        temporary = self._incoming / uuid.uuid4().hex
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)


def blob_path(sha256: str, extension: str) -> str:
    """Where the bytes with this digest (64 hex digits) lie."""
    return str(PurePosixPath(FOLDER, sha256[:2], sha256[2:4], f"{sha256}.{extension}"))


def digest_in(path: str) -> str:
    """The sha256 of the file that lies there."""
    return PurePosixPath(path).stem


def _folders(parent: Path) -> Iterator[Path]:
    for entry in _entries(parent):
        if _PART.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def sync_folder(folder: Path) -> None:
    """Make names in ``folder`` survive a power cut, where the system can do that to folders."""
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
