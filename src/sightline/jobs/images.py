"""The images of a folder and where their captions go. Names are held for one folder at a time."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sightline.errors import InvalidRequest

# Formats that are opened, by the names their files usually have.
EXTENSIONS = frozenset(
    {
        *("jpg", "jpeg", "jpe", "jif", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff"),
        *("avif", "heic", "heif", "hif"),
    }
)
# Folders of systems and of storage devices (Windows, macOS, Synology, QNAP), in small letters: copies,
# thumbnails and deleted files. Names that begin with a dot are hidden anyway.
_SYSTEM_FOLDERS = frozenset(
    {
        *("$recycle.bin", "recycler", "system volume information", "found.000", "lost+found", "__macosx"),
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@snapshot"),
    }
)
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
    """One folder's images in the order of their names, or why there is no list.

    ``links`` are links to other folders, which are not followed: they could go in circles.
    """

    folder: Path
    names: list[str] = field(default_factory=list)
    captions: frozenset[str] = frozenset()
    links: list[str] = field(default_factory=list)
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

    Hidden files and folders are left out: macOS keeps shadows of photos under such names. So are folders of
    the system, such as its recycle bin.
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
    names, captions, below, links = [], set(), [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            stem, dot, extension = entry.name.rpartition(".")
            if dot and extension.lower() in EXTENSIONS and _is_image(entry):
                names.append(entry.name)
            elif dot and _folded(extension) == CAPTION_EXTENSION:
                if holds_text(Path(entry.path)):
                    captions.add(_folded(stem))
            elif entry.name.lower() in _SYSTEM_FOLDERS:
                continue
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            elif entry.is_symlink() and entry.is_dir():
                links.append(entry.name)
    names.sort(key=lambda name: (_folded(_stem(name)), name))
    return Listing(folder, names, frozenset(captions), sorted(links)), below


def holds_text(path: Path) -> bool:
    """Whether a caption is there. An empty file is not one; a link that leads nowhere is not overwritten."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return True


@dataclass(slots=True)
class Survey:
    """How many images a folder has, and the links to folders in it that are not followed."""

    number_of_images: int = 0
    links: list[Path] = field(default_factory=list)


def survey(folder: Path, *, recursive: bool) -> Survey:
    """Count the images of a folder before any of them is opened.

    Raises:
        InvalidRequest: there are none; the message says what the folder has instead.
        OSError: the folder cannot be read.
    """
    found = Survey()
    for listing in listings(folder, recursive=recursive):
        if listing.error is not None:
            if listing.folder == folder:
                raise listing.error
            continue
        found.number_of_images += len(listing.names)
        found.links += (listing.folder / name for name in listing.links)
    if not found.number_of_images:
        raise InvalidRequest(f"no images in {folder}; {_instead(folder, recursive, found.links)}")
    return found


def _instead(folder: Path, recursive: bool, links: list[Path]) -> str:
    """A hint for someone who expected images in a folder."""
    if not recursive and any(listing.names for listing in listings(folder, recursive=True)):
        return "the folders below have some. Run the command with --recursive"
    if links:
        return f"links to folders are not followed: {links[0]}"
    with os.scandir(folder) as entries:
        others = Counter(Path(entry.name).suffix.lower() for entry in entries if entry.is_file())
    expected = f"expected names that end in {', '.join(f'.{each}' for each in sorted(EXTENSIONS))}"
    kinds = ", ".join(suffix for suffix, _ in others.most_common(3) if suffix)
    return f"{expected}; found {kinds}" if kinds else expected


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
