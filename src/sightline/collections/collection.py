"""Collections on disk: read by anybody, changed by one at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import ValidationError

from sightline.collections.classifier import Classifier, numbers_from_bytes, numbers_to_bytes
from sightline.collections.files import NEW_SUFFIX, sync_folder, write_whole
from sightline.collections.records import (
    COLLECTION_NAME,
    DEFAULT_THRESHOLD,
    INDICES,
    RECORDS,
    Index,
    Ranked,
    Recipe,
    Record,
    Scores,
    age,
    is_version,
)
from sightline.errors import CollectionBusy, CollectionDamaged, CollectionError, UnknownCollection
from sightline.settings import Settings

LONGEST_HISTORY = 10

ReadT = TypeVar("ReadT")
# Changes whenever the index is replaced: modification time in ns, inode, size in bytes.
Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Collections:
    """All collections below ``root``, which need not be there yet."""

    root: Path

    @classmethod
    def from_settings(cls, settings: Settings) -> Collections:
        root = settings.collections_dir or settings.models_dir / "collections"
        return cls(root.expanduser().absolute())

    def names(self) -> list[str]:
        """Ids of the collections of which something is stored, numbers in their order and first."""
        folders = self.root.iterdir() if self.root.is_dir() else iter(())
        names = [path.name for path in folders if re.fullmatch(COLLECTION_NAME, path.name) and path.is_dir()]
        return sorted(names, key=lambda name: (not name.isdecimal(), len(name) * name.isdecimal(), name))

    def collection(self, name: int | str) -> Collection:
        """One collection, whether or not anything of it is there.

        Raises:
            UnknownCollection: this cannot be a collection's id.
        """
        name = str(name)
        if not re.fullmatch(COLLECTION_NAME, name):
            raise UnknownCollection(name)
        return Collection(self.root, name)


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection. Reading needs no lock."""

    root: Path
    name: str

    # -- reading -------------------------------------------------------------------------------------------

    def index(self) -> Index:
        """The serving version, and how versions compare.

        Raises:
            UnknownCollection: no version of it ever served, or it is gone.
            CollectionDamaged: the index is not what was written.
        """
        if self.signature() is None:
            raise UnknownCollection(self.name)
        index = self._understood("the index", lambda: INDICES.from_bytes(self._index_path.read_bytes()))
        if index.collection != self.name:
            raise CollectionDamaged(f"collection {self.name} has the index of collection {index.collection}")
        return index

    def versions(self) -> list[str]:
        """Versions that are stored, the oldest first, damaged ones included."""
        names = (path.stem for path in self._versions.glob("*.json"))
        return sorted((name for name in names if is_version(name)), key=age)

    def read(self, version: str) -> Classifier:
        """One version, after its digests passed.

        Raises:
            CollectionError: there is no such version; the message lists those there are.
            CollectionDamaged: a file of it is not what was written, or is missing.
        """
        if not is_version(version) or not self._path(version, "json").exists():
            there_are = ", ".join(self.versions()) or "none"
            raise CollectionError(
                f"collection {self.name} has no version {version[:100]!r}; there are {there_are}"
            )
        about = f"version {version}"
        record = self._understood(about, lambda: RECORDS.from_bytes(self._path(version, "json").read_bytes()))
        if (record.collection, record.version) != (self.name, version):
            raise CollectionDamaged(f"{about} of collection {self.name} is that of another collection")
        return self._understood(about, lambda: self._classifier(record))

    def serving(self) -> Classifier:
        """The version that serves now.

        Raises:
            UnknownCollection: none does.
            CollectionDamaged: the index or that version is not what was written.
        """
        while True:
            before = self.signature()
            index = self.index()
            try:
                return self.read(index.serving)
            except CollectionDamaged:
                if self.signature() == before:
                    raise
            except CollectionError as error:  # pruned after the index was read, or deleted by hand
                if self.signature() == before:
                    raise CollectionDamaged(str(error)) from None

    def signature(self) -> Signature | None:
        """Return which index is stored, without reading it; None if there is none."""
        try:
            found = self._index_path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _classifier(self, record: Record) -> Classifier:
        data = self._path(record.version, "npz").read_bytes()
        if hashlib.sha256(data).hexdigest() != record.weights_sha256:
            raise ValueError("the digest is not that of the numbers")
        return Classifier.of(record, *numbers_from_bytes(data, record.recipe.dimensions))

    def _understood(self, what: str, read: Callable[[], ReadT]) -> ReadT:
        try:
            return read()
        except OSError as error:
            reason = f"a file of it cannot be read ({type(error).__name__})"
        except ValueError:
            reason = "it is not what was written"
        raise CollectionDamaged(
            f"{what} of collection {self.name} is damaged: {reason}; promote another version or train again"
        )

    # -- changing ------------------------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """Hold the collection alone, among all threads and processes, and clear away what a killed one left.

        Raises:
            CollectionBusy: somebody else holds it.
            CollectionError: the folder cannot be written.
        """
        lock = FileLock(self.root / ".locks" / f"{self.name}.lock")
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            raise CollectionBusy(
                f"collection {self.name} is being trained or changed already; try again when that is done"
            ) from None
        except OSError as error:
            raise _unwritable() from error
        try:
            self._clear()
            yield Change(self)
        except OSError as error:
            raise _unwritable() from error
        finally:
            lock.release()

    def _clear(self) -> None:
        """Remove files that a write which never ended left behind."""
        for folder in (self._folder, self._versions):
            for path in folder.glob(f"*{NEW_SUFFIX}"):
                path.unlink()
        for path in self._versions.glob("*.npz"):
            if is_version(path.stem) and not path.with_suffix(".json").exists():
                path.unlink()

    # -- paths ---------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.root / self.name

    @property
    def _versions(self) -> Path:
        return self._folder / "versions"

    @property
    def _index_path(self) -> Path:
        return self._folder / "index.json"

    def _path(self, version: str, kind: str) -> Path:
        return self._versions / f"{version}.{kind}"


def _unwritable() -> CollectionError:
    return CollectionError("the folder for collections (SIGHTLINE_COLLECTIONS_DIR) cannot be written")


class Change:
    """The operations that need the collection's lock; ``Collection.changing`` gives one."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def add(
        self,
        recipe: Recipe,
        weights: NDArray[np.float64],
        intercept: float,
        *,
        origin: str,
        trained_at: str | None,
        examples: int | None = None,
        positives: int | None = None,
        held_out: Scores | None = None,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> Classifier:
        """Store a version. It does not serve until it is promoted."""
        numbers = numbers_to_bytes(weights, intercept)
        record = Record(
            collection=self._collection.name,
            version=self._new_version(),
            recipe=recipe,
            weights_sha256=hashlib.sha256(numbers).hexdigest(),
            origin=origin,
            trained_at=trained_at,
            examples=examples,
            positives=positives,
            held_out=held_out,
            threshold=threshold,
        )
        try:
            text = RECORDS.to_bytes(record)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_url=False))
            raise CollectionError(f"this version cannot be recorded: {wrong} cannot be so") from error
        self._collection._versions.mkdir(parents=True, exist_ok=True)
        # The record comes last: a version is there once it has one.
        write_whole(self._collection._path(record.version, "npz"), numbers)
        write_whole(self._collection._path(record.version, "json"), text)
        return self._collection.read(record.version)

    def promote(self, version: str) -> Classifier:
        """Let a stored version serve.

        Raises:
            CollectionError, CollectionDamaged: it is not there or damaged; what serves goes on.
        """
        index = self._index()
        return self._serve(version, index.ranking if index else ())

    def publish(self, ranking: Sequence[Ranked]) -> Classifier:
        """Record how versions compare, best first, and let the best serve.

        Raises:
            CollectionError, CollectionDamaged: as for :meth:`promote`.
        """
        return self._serve(ranking[0].version, ranking)

    def roll_back(self) -> Classifier:
        """Let the version serve that did before, as often as there are earlier ones.

        Raises:
            UnknownCollection, CollectionDamaged: see :meth:`Collection.index`.
            CollectionError: no earlier version is stored.
        """
        index = self._collection.index()
        stored = set(self._collection.versions())
        history = [version for version in index.history if version in stored]
        if not history:
            raise CollectionError(f"collection {self._collection.name} has no earlier version to go back to")
        classifier = self._collection.read(history.pop())
        self._write(replace(index, serving=classifier.record.version, history=tuple(history)))
        return classifier

    def discard(self, versions: Iterable[str]) -> None:
        """Delete versions, never the one that serves."""
        index = self._index()
        for version in versions:
            if index is None or version != index.serving:
                self._collection._path(version, "json").unlink(missing_ok=True)
                self._collection._path(version, "npz").unlink(missing_ok=True)
        if self._collection._versions.is_dir():
            sync_folder(self._collection._versions)

    def _serve(self, version: str, ranking: Sequence[Ranked]) -> Classifier:
        classifier = self._collection.read(version)
        index = self._index()
        history = index.history if index else ()
        if index and index.serving != version:
            history = (*(each for each in history if each != index.serving), index.serving)
        self._write(
            Index(self._collection.name, version, history[-LONGEST_HISTORY:], tuple(ranking)),
        )
        return classifier

    def _index(self) -> Index | None:
        """None too where it is damaged: writing a new one is the way out."""
        try:
            return self._collection.index()
        except (UnknownCollection, CollectionDamaged):
            return None

    def _write(self, index: Index) -> None:
        write_whole(self._collection._index_path, INDICES.to_bytes(index))

    def _new_version(self) -> str:
        """Later than all there are: a name that became free must not make the newest look like the oldest."""
        second = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        numbers = [number for made, number in map(age, self._collection.versions()) if made == second]
        return f"{second}-{max(numbers) + 1}" if numbers else second
