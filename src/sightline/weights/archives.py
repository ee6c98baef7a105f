"""Single files of downloaded archives. Nothing is unpacked but the file that is asked for."""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sightline.errors import DigestMismatch, SourceMissing
from sightline.weights.folders import require_space

# Members in front of the one that is wanted have to be decompressed. More is a bomb.
_MAX_SKIPPED_BYTES = 64 << 30
_MAX_MEMBERS = 100_000
_CHUNK_BYTES = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether a name is that of an archive. Files of torch are zip files too, with names of their own."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"))


def members(archive: Path) -> dict[str, int]:
    """Return the sizes of the plain files in an archive by path.

    Raises:
        DigestMismatch: the archive is damaged.
    """
    with _damage_named():
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return {info.filename: info.file_size for info in opened.infolist() if not info.is_dir()}
        with tarfile.open(archive) as tar:
            return {info.name: info.size for info in _bounded(tar) if info.isfile()}


def extract(archive: Path, member: str, destination: Path, max_bytes: int) -> None:
    """Write one member of a tar (also compressed) or zip archive to ``destination``.

    ``member`` is a path, or a name that one member has in any folder. Links are not followed.

    Raises:
        SourceMissing: there is no such file, or several.
        DigestMismatch: the archive is damaged, or the file is larger than ``max_bytes``.
    """
    opened = _zip_member if zipfile.is_zipfile(archive) else _tar_member
    with _damage_named(), opened(archive, member) as (file, size):
        if size > max_bytes:
            raise DigestMismatch(f"{member} in it has {size} bytes; expected at most {max_bytes}")
        require_space(destination.parent, size)
        _copy(file, destination, size)


@contextmanager
def _damage_named() -> Iterator[None]:
    """Raise DigestMismatch for whatever the readers of archives raise about damaged ones."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise DigestMismatch("the archive is damaged or cut short") from error
    except (OSError, RuntimeError) as error:
        # gzip and zlib report damage as OSError without a number; others are of the disk.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DigestMismatch("the archive is damaged or cut short") from error


@contextmanager
def _tar_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    with tarfile.open(archive) as tar:
        found = [info for info in _bounded(tar) if _is(info.name, member) and info.isfile()]
        file = tar.extractfile(found[0]) if len(found) == 1 else None
        if file is None:
            raise _missing(member, len(found))
        yield file, found[0].size


def _bounded(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    skipped = 0
    for count, info in enumerate(tar):
        skipped += max(0, info.size)
        if count > _MAX_MEMBERS or skipped > _MAX_SKIPPED_BYTES:
            raise DigestMismatch("the archive is too large when it is decompressed")
        yield info


@contextmanager
def _zip_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    with zipfile.ZipFile(archive) as opened:
        found = [info for info in opened.infolist() if _is(info.filename, member) and not info.is_dir()]
        if len(found) != 1:
            raise _missing(member, len(found))
        with opened.open(found[0]) as file:
            yield file, found[0].file_size


def _is(name: str, member: str) -> bool:
    path = posixpath.normpath(name)
    return path == member or ("/" not in member and posixpath.basename(path) == member)


def _missing(member: str, count: int) -> SourceMissing:
    several = "several files" if count else "no file"
    return SourceMissing(f"the archive has {several} of the name {member}; expected one")


def _copy(file: IO[bytes], destination: Path, size: int) -> None:
    with destination.open("wb") as output:
        remaining = size
        while remaining:
            chunk = file.read(min(_CHUNK_BYTES, remaining))
            if not chunk:
                raise EOFError
            remaining -= len(chunk)
            output.write(chunk)
