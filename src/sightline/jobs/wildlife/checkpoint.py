"""What a run has found so far, in a file it can be killed beside at any moment.

A header with what the run was begun with, then a line of JSON per photo as its end comes. Lines are only ever
added; of several on one photo the last counts. An unfinished last line is cut off by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sightline.errors import InvalidRequest
from sightline.jobs.describing import RunEnded
from sightline.jobs.wildlife.predictions import as_json

_KIND = "sightline wildlife checkpoint, 1"
# What a power cut may cost. A killed process loses nothing that was written.
_SYNC_EVERY_S = 5.0


class Checkpoint:
    """Answers by photo. In memory are their places in the file, some 600 bytes for each.

    ``known`` are those that an earlier run found, with what they were asked; failures are not among them,
    and so are tried again.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        """``file`` is ``path``, open for writing and unbuffered: what is written is out of this process."""
        self._path = path
        self._file = file
        self._known: dict[str, tuple[int, bytes]] = {}
        self._length = 0
        self._synced = time.monotonic()

    def __contains__(self, photo: str) -> bool:
        """Whether an earlier run found it, whatever it was asked."""
        return photo in self._known

    def recall(self, photo: str, asked: Mapping[str, Any]) -> int | None:
        """Where the answer lies, if an earlier run has asked the same about the photo."""
        position, before = self._known.get(photo, (0, b""))
        return position if before == _key(asked) else None

    def add(self, photo: str, asked: Mapping[str, Any], entry: Mapping[str, Any]) -> int:
        """Keep an entry; returns where it lies.

        Raises:
            RunEnded: it cannot be written, nor could the next one.
        """
        position = self._length
        self._append({"filepath": photo, "asked": asked, "entry": entry})
        return position

    def entries(self, positions: Iterable[int]) -> Iterator[dict[str, Any]]:
        """What lies at these positions, one at a time.

        Raises:
            OSError, ValueError, LookupError: somebody else changed the file.
        """
        with self._path.open("rb") as file:
            for position in positions:
                file.seek(position)
                yield json.loads(file.readline())["entry"]

    def begin(self, begun_with: Mapping[str, Any]) -> None:
        """Start over.

        Raises:
            RunEnded: it cannot be written.
        """
        self._known.clear()
        self._length = 0
        self._append({"kind": _KIND, "begun_with": begun_with})

    def resume(self) -> Mapping[str, Any] | None:
        """Read what is there; what it was begun with, or None of an empty file.

        Raises:
            InvalidRequest: the file is something else.
        """
        with self._path.open("rb") as file:
            header = file.readline()
            if not header.endswith(b"\n") and as_json({"kind": _KIND}).startswith(header[:20]):
                return None  # killed in its first moment
            first = _read(header)
            if first.get("kind") != _KIND or "begun_with" not in first:
                raise InvalidRequest(f"{self._path} is not what this command writes; --force replaces it")
            self._length = len(header)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # what is added next is written over it
                self._note(line)
                self._length += len(line)
        begun_with: Mapping[str, Any] = first["begun_with"]
        return begun_with

    def _note(self, line: bytes) -> None:
        found = _read(line)
        if found.keys() != {"filepath", "asked", "entry"}:
            return  # a disk that lost power can leave anything; the photo is looked at again
        photo, entry = found["filepath"], found["entry"]
        if "failures" in entry:
            self._known.pop(photo, None)
        else:
            self._known[photo] = (self._length, _key(found["asked"]))

    def _append(self, line: Mapping[str, Any]) -> None:
        data = as_json(line) + b"\n"
        try:
            self._file.seek(self._length)
            self._file.truncate()
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            if time.monotonic() - self._synced > _SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise RunEnded(f"{self._path} cannot be written: {error.strerror or error}") from error
        self._length += len(data)


@contextmanager
def checkpoint_beside(out: Path) -> Iterator[Checkpoint]:
    """The checkpoint of the run that is to write ``out``, held alone: neither begun nor resumed yet.

    Raises:
        InvalidRequest: another run holds it.
        OSError: it cannot be written.
    """
    path = checkpoint_path(out)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InvalidRequest(
            f"another run is writing {out}; wait for its end or name another --out"
        ) from None
    try:
        with suppress(FileExistsError):
            path.open("xb").close()
        with path.open("r+b", buffering=0) as file:
            yield Checkpoint(path, file)
    finally:
        with suppress(OSError):
            if not path.stat().st_size:
                path.unlink()  # the run did not come to begin
        lock.release()


def checkpoint_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint.jsonl")


def _key(asked: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16).digest()


def _read(line: bytes) -> dict[str, Any]:
    """A line's fields; none where it is no JSON object."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
