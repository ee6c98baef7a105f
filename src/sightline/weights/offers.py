"""Files of the user's that a model's downloads may be replaced by: a file, a folder or an archive."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sightline.errors import DigestMismatch, SourceMissing
from sightline.weights import archives
from sightline.weights.acquisition import Obtained
from sightline.weights.manifest import FileRecord, sha256_of
from sightline.weights.sources import ArchiveMember, Artifact, HubFile, Report, Source, UrlFile, WheelFile
from sightline.weights.wanted import Wanted

_MAX_FILES = 20_000


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that is offered. ``place`` returns where it is, unpacked below a folder if it has to be."""

    name: str
    size_bytes: int
    place: Callable[[Path], Path]


class Offer:
    """Return the files at ``path``. They are found by digest, else by the name in their source.

    With ``any_digest``, a file whose digest is not that of the card is taken as well. With ``required``, a
    model of which no file is here is an error, and is not downloaded.
    """

    def __init__(self, path: Path, *, any_digest: bool = False, required: bool = True) -> None:
        self._path = path
        self._any_digest = any_digest
        self._required = required
        self._lone = path.is_file() and not archives.is_archive(path)
        self._candidates = _candidates(path)
        self._digests: dict[str, tuple[Path, str]] = {}

    def given(self, wanted: Wanted, work: Path, report: Report) -> dict[str, Obtained]:
        """Return the files of a model that are here. Those that stay installed are copied below ``work``.

        Raises:
            DigestMismatch: a file has the name of one of the model's and another digest.
            SourceMissing: two files have the same name, or there is none and one is required.
        """
        wanting = [artifact for artifact in wanted.artifacts if _names(artifact)]
        checkpoints = [artifact for artifact in wanting if artifact.intermediate]
        given: dict[str, Obtained] = {}
        for artifact in wanting:
            only = self._lone and checkpoints == [artifact]
            found = self._find(artifact, work / "offered", only, report)
            if found is not None:
                obtained = self._obtained(artifact, *found, work / "offered")
                report(artifact.name, obtained.record.size_bytes, obtained.record.size_bytes)
                given[artifact.name] = obtained
        if self._required and not given:
            raise self._missing(wanted)
        return given

    def _missing(self, wanted: Wanted) -> SourceMissing:
        expected = [_described(artifact) for artifact in wanted.artifacts if _names(artifact)]
        return SourceMissing(
            f"{self._path.name} has no file of {wanted.model}; expected {', '.join(expected) or 'none'}"
        )

    def _find(
        self, artifact: Artifact, work: Path, only: bool, report: Report
    ) -> tuple[_Candidate, Path, str] | None:
        alike = [one for one in self._candidates if posixpath.basename(one.name) in _names(artifact)]
        if artifact.sha256 is not None:
            for candidate in [*alike, *self._of_size(artifact.size_bytes)]:
                path, digest = self._digest(candidate, work, report)
                if digest == artifact.sha256:
                    return candidate, path, digest
        if not alike and only and self._any_digest:
            alike = self._candidates
        if not alike:
            return None
        if len(alike) > 1:
            name = _line(posixpath.basename(alike[0].name))
            raise SourceMissing(f"{self._path.name} has several files of the name {name}; expected one")
        path, digest = self._digest(alike[0], work, report)
        if artifact.sha256 is not None and not self._any_digest:
            name = _line(posixpath.basename(alike[0].name))
            raise DigestMismatch(
                f"{name} is not the published {artifact.name}: its sha256 is {digest}; expected "
                f"{artifact.sha256}; to take it all the same, add --any-digest"
            )
        return alike[0], path, digest

    def _of_size(self, size_bytes: int | None) -> list[_Candidate]:
        """Files that are worth hashing whatever their names are."""
        if size_bytes is None:
            return self._candidates if self._lone else []
        return [candidate for candidate in self._candidates if candidate.size_bytes == size_bytes]

    def _digest(self, candidate: _Candidate, work: Path, report: Report) -> tuple[Path, str]:
        if candidate.name not in self._digests or not self._digests[candidate.name][0].is_file():
            report(f"check {posixpath.basename(candidate.name)}", 0, None)
            work.mkdir(parents=True, exist_ok=True)
            path = candidate.place(work)
            self._digests[candidate.name] = path, sha256_of(path)
        return self._digests[candidate.name]

    def _obtained(
        self, artifact: Artifact, candidate: _Candidate, path: Path, digest: str, work: Path
    ) -> Obtained:
        published = digest == artifact.sha256
        source = str(artifact.sources[0]) if published else f"a file of the user's: {_line(candidate.name)}"
        record = FileRecord(digest, path.stat().st_size, source, fetched=published)
        if not artifact.intermediate:
            path = Path(shutil.copyfile(path, work / f"copy-{artifact.name}"))
        return Obtained(path, record, ours=not artifact.intermediate)


def _candidates(path: Path) -> list[_Candidate]:
    if path.is_dir():
        found: list[_Candidate] = []
        for folder, _, names in os.walk(path):
            for name in sorted(names):
                file = Path(folder, name)
                if file.is_file() and len(found) < _MAX_FILES:
                    found.append(_plain(file, file.relative_to(path).as_posix()))
        return found
    if archives.is_archive(path):
        sizes = archives.members(path)
        return [_packed(path, name, size, number) for number, (name, size) in enumerate(sizes.items())]
    return [_plain(path, path.name)]


def _plain(file: Path, name: str) -> _Candidate:
    return _Candidate(name, file.stat().st_size, lambda work: file)


def _packed(archive: Path, name: str, size: int, number: int) -> _Candidate:
    def unpack(work: Path) -> Path:
        output = work / f"member-{number}"
        archives.extract(archive, name, output, size)
        return output

    return _Candidate(name, size, unpack)


def _names(artifact: Artifact) -> set[str]:
    """Names under which an artifact is published, and its own; none for what is only built here."""
    published = {name for source in artifact.sources if (name := _published_name(source))}
    return published | {artifact.name} if published else set()


def _published_name(source: Source) -> str | None:
    match source:
        case HubFile(path=path):
            return posixpath.basename(path)
        case UrlFile(url=url):
            return posixpath.basename(unquote(urlsplit(url).path))
        case ArchiveMember(member=member) | WheelFile(member=member):
            return posixpath.basename(member)
        case _:
            return None


def _described(artifact: Artifact) -> str:
    digest = f" (sha256 {artifact.sha256})" if artifact.sha256 else ""
    return f"{next((n for s in artifact.sources if (n := _published_name(s))), artifact.name)}{digest}"


def _line(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200]


def origin_of(given: Mapping[str, Obtained]) -> str | None:
    """Return where files come from that are not the published ones, None if all are."""
    others = [item.record.source for item in given.values() if not item.record.fetched]
    return "; ".join(others)[:2000] if others else None
