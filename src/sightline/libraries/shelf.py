"""The libraries of one folder, by name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sightline.errors import InvalidRequest, UnknownLibrary
from sightline.libraries.library import Library, open_library
from sightline.libraries.schema import is_library

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = ".library"


class Shelf:
    """The libraries in a folder. They are opened for each use: a file can be replaced meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of all libraries."""
        if not self._folder.is_dir():
            return []
        return sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}") if is_library(path))

    def open(self, name: str, *, create: bool = False) -> Library:
        """Open a library.

        Raises:
            InvalidRequest: ``name`` cannot be one.
            UnknownLibrary: there is none of that name, and ``create`` is false.
            LibraryRefused, LibraryDamaged, InsufficientStorage: see :func:`open_library`.
        """
        try:
            return open_library(self._path(name), create=create)
        except FileNotFoundError:
            raise UnknownLibrary(name, self.names()) from None

    def delete(self, name: str) -> None:
        """Delete a library, its vectors and the photos that were sent to it. Photos of folders stay.

        Raises:
            UnknownLibrary: there is none.
            LibraryBusy: it is being written to.
        """
        path = self._path(name)
        with self.open(name) as library, library.writing():
            pass
        for each in self._files(path):
            each.unlink(missing_ok=True)
        for folder in (path.with_suffix(".vectors"), self.uploads(name)):
            shutil.rmtree(folder, ignore_errors=True)

    def identity(self, name: str) -> object:
        """Return what tells the file of a library from one that takes its place; None if there is none."""
        try:
            status = self._path(name).stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def uploads(self, name: str) -> Path:
        """Return the folder of photos that were sent to a library."""
        return self._path(name).with_suffix(".photos")

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"library: {name[:100]!r}; expected up to 64 letters, digits, dots, dashes and underscores, "
                "beginning with a letter or digit"
            )
        return self._folder / f"{name}{_SUFFIX}"

    def _files(self, path: Path) -> Iterator[Path]:
        yield path
        for suffix in ("-wal", "-shm"):
            yield path.with_name(path.name + suffix)
        yield path.with_suffix(".lock")
