"""Files that several models are made of, downloaded once: checkpoints by digest, archives by address.

::

    <root>/.partial/@shared/<key>            the file, or what has arrived of it
    <root>/.partial/<model>/needs/<key>      an empty note: this model is being installed and needs the file
    <root>/.locks/@shared-<key>.lock         held while a model is made of it

A file stays as long as a note names it: for models that are pulled in the same command, in another thread or
process, and for those whose installation was interrupted. The last model of them removes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sightline.weights.folders import Folders
from sightline.weights.sources import ArchiveMember, Artifact, HubFile, Report, UrlFile, key_of
from sightline.weights.wanted import Wanted

_NEEDS = "needs"


def shared_key(artifact: Artifact) -> str | None:
    """Key of an artifact's file that other models may share, None for files of one model."""
    elsewhere = any(isinstance(source, HubFile | UrlFile | ArchiveMember) for source in artifact.sources)
    return artifact.sha256 if artifact.intermediate and elsewhere else None


def keys_of(wanted: Wanted) -> list[str]:
    """Keys of all shared files that a model may need, in the order in which their locks are taken."""
    keys = {shared_key(artifact) for artifact in wanted.artifacts}
    for artifact in wanted.artifacts:
        keys |= {key_of(source) for source in artifact.sources if isinstance(source, ArchiveMember)}
    return sorted(key for key in keys if key is not None)


class SharedFiles:
    """The shared files of one store. Thread-safe; processes may share a root."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def path(self, key: str) -> Path:
        return self._folders.shared / key

    def note(self, wanted: Wanted) -> None:
        """Keep what the model needs until :meth:`forget`, even if another model is made of it first."""
        for key in keys_of(wanted):
            note = self._folders.partial(wanted.model) / _NEEDS / key
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    @contextmanager
    def held(self, wanted: Wanted, report: Report, *, note: bool) -> Iterator[None]:
        """Hold the shared files of a model alone, among all threads and processes."""
        if note:
            self.note(wanted)
        keys = keys_of(wanted)
        if keys:
            self._folders.shared.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # Sorted: two models that share two files must not wait for each other.
            for key in keys:
                waiting = f"waiting for another model that {wanted.model} shares a file with"
                stack.enter_context(self._folders.locked(_lock_name(key), waiting, report))
            yield

    def forget(self, model: str) -> None:
        """Delete the model's unfinished files, and shared files that no other model needs."""
        needs = self._folders.partial(model) / _NEEDS
        keys = [note.name for note in needs.glob("*")]
        self._folders.forget_partial(model)
        self._release(keys)

    def forget_unused(self, wanteds: Sequence[Wanted]) -> None:
        """Forget models of which nothing has arrived but notes."""
        for wanted in wanteds:
            folder = self._folders.partial(wanted.model)
            if [path.name for path in folder.glob("*")] == [_NEEDS]:
                self.forget(wanted.model)

    def _release(self, keys: Iterable[str]) -> None:
        for key in keys:
            lock = FileLock(self._folders.lock_path(_lock_name(key)))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue  # another model is being made of it, and forgets it afterwards
            try:
                if not any(self._folders.partials.glob(f"*/{_NEEDS}/{key}")):
                    for path in self._folders.shared.glob(f"{key}*"):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                lock.release()


def _lock_name(key: str) -> str:
    return f"@shared-{key}"
