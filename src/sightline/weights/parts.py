"""A file that is still arriving."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2


class Unusable(Exception):
    """The answer cannot continue or start this part; the part was thrown away where it is to blame."""


class Part:
    """``NAME.part`` beside where the file will lie, and what is noted about it in ``NAME.part.json``.

    ``pinned``: the file's digest is known, so it may be resumed without a validator.
    """

    def __init__(self, destination: Path, *, pinned: bool) -> None:
        self._destination = destination
        self.path = destination.with_name(f"{destination.name}.part")
        self._notes = destination.with_name(f"{destination.name}.part.json")
        self._pinned = pinned
        self.total: int | None = None
        self.announced: str | None = None
        self._validator: str | None = None
        self._read_notes()

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_complete(self) -> bool:
        return self.total is not None and self.size == self.total and self.path.exists()

    def request_headers(self) -> dict[str, str]:
        """Asks for the rest where it can be known to belong to what is there."""
        if self.size == 0:
            return {}
        if self._validator is not None:
            return {"Range": f"bytes={self.size}-", "If-Range": self._validator}
        return {"Range": f"bytes={self.size}-"} if self._pinned else {}

    @contextmanager
    def open(self, response: httpx2.Response, announced: str | None) -> Iterator[BinaryIO]:
        """The file to append the answer's body to, emptied where the answer starts from the beginning.

        Raises:
            Unusable: a compressed body, or a range that is not the one asked for.
        """
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unusable("sends a compressed file that was not asked for")
        if response.status_code == 206:
            self._check_range(response)
        else:
            self.discard()
            self.total = _length(response)
            self._validator = _strong_validator(response)
        self.announced = announced
        self._write_notes()
        with self.path.open("ab") as file:
            yield file

    def finish(self) -> None:
        """Let the file appear under its name, on disk to the last byte."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self._destination)
        self._notes.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self.total = self.announced = self._validator = None

    def _check_range(self, response: httpx2.Response) -> None:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
        if match is None or int(match[1]) != self.size or self.total not in (None, int(match[2])):
            self.discard()
            raise Unusable("sends another part of the file than was asked for")
        self.total = int(match[2])

    def _read_notes(self) -> None:
        """Notes that cannot be read are no notes: the download starts again."""
        try:
            notes = json.loads(self._notes.read_bytes())
            validator, total, announced = notes["validator"], notes["total"], notes["announced"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._validator = validator if isinstance(validator, str) else None
        self.total = total if isinstance(total, int) else None
        self.announced = announced if isinstance(announced, str) else None

    def _write_notes(self) -> None:
        notes = {"validator": self._validator, "total": self.total, "announced": self.announced}
        writing = self._notes.with_name(f"{self._notes.name}.new")
        writing.write_text(json.dumps(notes), encoding="utf-8")
        writing.replace(self._notes)


def _length(response: httpx2.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _strong_validator(response: httpx2.Response) -> str | None:
    """``If-Range`` must not be given a weak entity tag (RFC 9110, 13.1.5)."""
    tag = response.headers.get("etag")
    if tag is not None and not tag.startswith("W/"):
        return str(tag)
    modified = response.headers.get("last-modified")
    return None if modified is None else str(modified)
