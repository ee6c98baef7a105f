"""The images of a folder and where their captions go. Names are held for one folder at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Formats that are opened, by the names their files usually have.
EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif"})
CAPTION_EXTENSION = "txt"
# Where the system takes Photo.txt and photo.txt for one file.
_ONE_CASE = sys.platform in ("darwin", "win32")


@dataclass(frozen=True, slots=True)
class FolderImage:
    """An image and its caption's place beside it.

    ``namesake`` is an earlier image of the folder whose caption has that place: ``photo.jpg`` for
    ``photo.png``. ``has_caption`` is as of when the folder was listed.
    """

    path: Path
    caption: Path
    has_caption: bool
    namesake: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder's images in the order of their names, or why there is no list."""

    folder: Path
    names: list[str] = field(default_factory=list)
    captions: frozenset[str] = frozenset()
    error: OSError | None = None

    def __iter__(self) -> Iterator[FolderImage]:
        first = ""
        for name in self.names:
            stem = _stem(name)
            is_namesake = bool(first) and _folded(_stem(first)) == _folded(stem)
            if not is_namesake:
                first = name
            yield FolderImage(
                path=self.folder / name,
                caption=self.folder / f"{stem}.{CAPTION_EXTENSION}",
                has_caption=_folded(stem) in self.captions,
                namesake=first if is_namesake else None,
            )


def listings(folder: Path, *, recursive: bool) -> Iterator[Listing]:
    """``folder``, then, if ``recursive``, those below it. Each is read when its turn comes.

    Hidden files and folders are left out: macOS keeps shadows of photos under such names. Links to folders
    are not followed, which could go in circles.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            listing, below = _read(current)
        except OSError as error:
            yield Listing(current, error=error)
            continue
        if recursive:
            waiting += (current / name for name in sorted(below, reverse=True))
        yield listing


def _read(folder: Path) -> tuple[Listing, list[str]]:
    """The folder's images and the names of its folders."""
    names, captions, below = [], set(), []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            stem, dot, extension = entry.name.rpartition(".")
            if dot and extension.lower() in EXTENSIONS and _is_image(entry):
                names.append(entry.name)
            elif dot and _folded(extension) == CAPTION_EXTENSION:
                captions.add(_folded(stem))
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
    names.sort(key=lambda name: (_folded(_stem(name)), name))
    return Listing(folder, names, frozenset(captions)), below


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Also a link that leads nowhere: somebody meant an image, and is told. Not a pipe: it could block."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return False


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _folded(text: str) -> str:
    return text.casefold() if _ONE_CASE else text
