"""The photos of a folder. Names are held for one folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sightline.jobs.images import listings


@dataclass(frozen=True, slots=True)
class Photo:
    """A file, and what it is called in the answers: its path below the folder, with forward slashes."""

    path: Path
    name: str

    def state(self) -> dict[str, int]:
        """What changes when the file does; nothing of a file that cannot be reached."""
        try:
            found = self.path.stat()
        except OSError:
            return {}
        return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder whose photos are not known, and why."""

    path: Path
    error: OSError

    def state(self) -> dict[str, int]:
        return {}


@dataclass(frozen=True, slots=True)
class PhotoFolder:
    """Where the photos are; ``recursive``: in the folders below as well; ``only``: no others than these."""

    root: Path
    recursive: bool = True
    only: frozenset[str] | None = None

    def __iter__(self) -> Iterator[Photo | Unreadable]:
        for listing in listings(self.root, recursive=self.recursive):
            if listing.error is not None:
                yield Unreadable(listing.folder, listing.error)
            for name in listing.names:
                path = listing.folder / name
                photo = Photo(path, path.relative_to(self.root).as_posix())
                if self.only is None or photo.name in self.only:
                    yield photo

    def names(self) -> Iterator[str]:
        """What the photos are called. Folders that cannot be read have none."""
        return (each.name for each in self if isinstance(each, Photo))
