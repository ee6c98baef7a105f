"""How the files of a folder differ from what a library knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sightline.jobs.images import listings
from sightline.libraries import Library
from sightline.libraries.items import Known


@dataclass(frozen=True, slots=True)
class File:
    """A file to look at. ``item_id``: the item that has its path, with other content; None for a new path."""

    path: str
    size: int
    mtime_ns: int
    item_id: int | None = None


@dataclass(slots=True)
class Differences:
    """What changed in folders since a library was last brought up to date.

    Attributes:
        changed: files that are new, or whose size or time of change differs.
        unchanged: number of files that are as they were.
        known_failures: number of files that could not be read before and have not changed since.
        gone: ids and digests of items whose files are not there.
        gone_failures: paths that could not be read before and are not there.
        warnings: what a reader must know, such as a folder that is not there.
    """

    changed: list[File] = field(default_factory=list)
    unchanged: int = 0
    known_failures: int = 0
    gone: dict[int, str] = field(default_factory=dict)
    gone_failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def differences(
    library: Library, roots: list[Path], *, retry_failed: bool = False, prune: bool = False
) -> Differences:
    """Compare folders with a library. No file is opened.

    A folder that is not there, or has no photo at all, is taken for one that is not mounted: its items stay.
    So do the items of a folder that cannot be listed. ``prune``: items of the former are gone.
    """
    found = Differences()
    for root in roots:
        _compare(library, root, found, retry_failed=retry_failed, prune=prune)
    return found


def _compare(library: Library, root: Path, found: Differences, *, retry_failed: bool, prune: bool) -> None:
    known = library.known(str(root))
    failures = {} if retry_failed else library.failures(str(root))
    if not root.is_dir() and not prune:
        found.warnings.append(f"{root}: there is no such folder now; its {len(known):,} photos are kept")
        found.unchanged += len(known)
        return
    seen: set[str] = set()
    unlisted: list[str] = []
    for file in _files(root, found, unlisted) if root.is_dir() else ():
        seen.add(file.path)
        before = known.get(file.path)
        if before is not None and (before.size, before.mtime_ns) == (file.size, file.mtime_ns):
            found.unchanged += 1
        elif failures.get(file.path, ())[:2] == (file.size, file.mtime_ns):
            found.known_failures += 1
        else:
            item_id = before.id if before else None
            found.changed.append(File(file.path, file.size, file.mtime_ns, item_id))
    if known and not seen and not prune:
        found.warnings.append(
            f"{root}: there is no photo in it now; its {len(known):,} photos are kept. "
            "To remove them, add --prune"
        )
        found.unchanged += len(known)
        return
    found.gone |= {item.id: item.sha256 for item in _gone(known, seen, unlisted)}
    found.gone_failures += [path for path in library.failures(str(root)) if path not in seen]


def _gone(known: Mapping[str, Known], seen: set[str], unlisted: list[str]) -> Iterator[Known]:
    for path, item in known.items():
        if path not in seen and not any(path.startswith(folder) for folder in unlisted):
            yield item


def _files(root: Path, found: Differences, unlisted: list[str]) -> Iterator[File]:
    for listing in listings(root, recursive=True):
        if listing.error is not None:
            reason = listing.error.strerror or listing.error
            found.warnings.append(f"{listing.folder}: cannot be listed: {reason}; its photos are kept")
            unlisted.append(f"{listing.folder}/")
        for name in listing.names:
            path = listing.folder / name
            try:
                status = path.stat()
                str(path).encode()
            except UnicodeEncodeError:
                shown = str(path).encode("utf-8", "replace").decode()
                found.warnings.append(f"{shown}: its name is not text; expected UTF-8. Rename it")
                continue
            except OSError as error:
                found.warnings.append(f"{path}: cannot be read: {error.strerror or error}")
                continue
            yield File(str(path), status.st_size, status.st_mtime_ns)
