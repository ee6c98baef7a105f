"""Libraries that a server keeps open: their vectors stay in memory from one search to the next."""

from __future__ import annotations

import threading

from sightline.libraries import Library, Shelf

# Each keeps its bits in memory, 6 MB for 100,000 photos.
_MOST_OPEN = 16


class OpenLibraries:
    """Opens libraries of a shelf when they are first asked for. A file that was replaced is opened anew."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._open: dict[str, tuple[Library, object]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, *, create: bool = False) -> Library:
        """Return a library. It stays open for whoever uses it; nobody else closes it.

        Raises:
            InvalidRequest, UnknownLibrary, LibraryRefused, LibraryDamaged, InsufficientStorage: see
                ``Shelf.open``.
        """
        with self._lock:
            library, identity = self._open.pop(name, (None, None))
            if library is None or identity != self.shelf.identity(name):
                library = self.shelf.open(name, create=create)
            self._open[name] = (library, self.shelf.identity(name))  # the last used comes last
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
            return library

    def close(self) -> None:
        """Close all."""
        with self._lock:
            for library, _ in self._open.values():
                library.close()
            self._open.clear()
