"""The store's folders on disk, and the only code that makes anything in them appear or vanish.

::

    <root>/<model>/            manifest.json and the files, complete or not there at all; perhaps drift.json
    <root>/<model>@random/     the same with random weights
    <root>/.locks/             one lock file per model
    <root>/.partial/<model>/   downloads under way, kept for the next attempt
    <root>/.partial/@shared/   those of files that several models are made of: see ``weights.shared_files``
    <root>/.staging/           a model about to appear, or one about to vanish
    <root>/.old/               for an instant, the model that is being replaced

Everything under ``root`` is on one file system, so a rename makes a whole model visible at once.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sightline.errors import UnknownModel, WeightsError
from sightline.weights.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from sightline.weights.sources import Report, silent

_RANDOM = "@random"
# Left free after a download: a file system filled to the last byte breaks everything else on the machine.
_RESERVE_BYTES = 64 * 1024 * 1024


class Folders:
    """Paths of one store, and atomic changes to them. Changes need the model's lock."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def model(self, model: str, *, random: bool = False) -> Path:
        """Raises UnknownModel for a name that cannot be one."""
        if not re.fullmatch(MODEL_NAME, model):
            raise UnknownModel(f"{model!r} is not a model's name")
        return self.root / (model + _RANDOM if random else model)

    @property
    def partials(self) -> Path:
        return self.root / ".partial"

    @property
    def shared(self) -> Path:
        return self.partials / "@shared"

    def partial(self, model: str, *, random: bool = False) -> Path:
        return self.partials / self.model(model, random=random).name

    def staging(self, model: str, *, random: bool = False) -> Path:
        """An empty folder in which a model is put together; ``publish`` makes it visible."""
        folder = self._staged(self.model(model, random=random))
        discard(folder)
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def lock(self, model: str, report: Report = silent) -> Iterator[None]:
        """Hold the model alone, among all threads and processes; repairs what a killed process left."""
        waiting = f"waiting for another process to install {model}"
        with self.locked(self.model(model).name, waiting, report):
            for random in (False, True):
                self._recover(self.model(model, random=random))
            yield

    @contextmanager
    def locked(self, name: str, waiting: str, report: Report) -> Iterator[None]:
        """Hold the lock of that name; ``waiting`` is reported while another thread or process has it."""
        path = self.lock_path(name)
        lock = FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            report(waiting, 0, None)
            lock.acquire()
        except OSError as error:
            raise WeightsError("the folder for models (SIGHTLINE_MODELS_DIR) cannot be written") from error
        try:
            yield
        finally:
            lock.release()

    def lock_path(self, name: str) -> Path:
        return self.root / ".locks" / f"{name}.lock"

    def publish(self, staged: Path, manifest: Manifest, *, random: bool) -> Path:
        """Write the manifest beside the staged files and let them replace the model as a whole."""
        (staged / MANIFEST_NAME).write_bytes(manifest.to_json())
        for path in staged.iterdir():
            sync(path)
        sync(staged)
        final = self.model(manifest.model, random=random)
        old = self._old(final)
        discard(old)
        # Between the two renames the model is missing for an instant; _recover undoes the first one
        # if this process dies there.
        if os.path.lexists(final):
            old.parent.mkdir(exist_ok=True)
            final.replace(old)
        staged.replace(final)
        sync(self.root)
        discard(old)
        return final

    def write(self, model: str, name: str, data: bytes, *, random: bool) -> None:
        """Put a file that the manifest does not list beside the model's, or replace it, all at once."""
        folder = self.model(model, random=random)
        draft = self._staged(folder).with_suffix(".draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(data)
            sync(draft)
            draft.replace(folder / name)
            sync(folder)
        finally:
            draft.unlink(missing_ok=True)

    def remove(self, model: str) -> None:
        for random in (False, True):
            folder = self.model(model, random=random)
            if os.path.lexists(folder):
                vanishing = self._staged(folder)
                discard(vanishing)
                vanishing.parent.mkdir(parents=True, exist_ok=True)
                folder.replace(vanishing)
                discard(vanishing)
            self.forget_partial(model, random=random)

    def discard(self, staged: Iterable[Path]) -> None:
        """Delete staged folders that were not published."""
        for folder in staged:
            discard(folder)

    def forget_partial(self, model: str, *, random: bool = False) -> None:
        discard(self.partial(model, random=random))

    def disk_bytes(self, model: str) -> int:
        folders = [of(model, random=random) for of in (self.model, self.partial) for random in (False, True)]
        return sum(size_of(path) or 0 for folder in folders for path in folder.rglob("*"))

    def is_unreadable(self, model: str, *, random: bool = False) -> bool:
        """Whether something is in the model's place and its manifest cannot be read."""
        manifest = self.model(model, random=random) / MANIFEST_NAME
        try:
            manifest.read_bytes()
        except FileNotFoundError:
            return manifest.is_symlink()
        except OSError:  # no folder, no permission, a loop of links, a folder in place of the file
            return True
        return False

    def _staged(self, final: Path) -> Path:
        return self.root / ".staging" / final.name

    def _old(self, final: Path) -> Path:
        return self.root / ".old" / final.name

    def _recover(self, final: Path) -> None:
        old = self._old(final)
        if os.path.lexists(old) and not os.path.lexists(final):
            old.replace(final)


def take(files: Mapping[str, tuple[Path, bool]], folder: Path) -> None:
    """Bring files into ``folder`` under their names: moved where the flag is True, else linked or copied."""
    for name, (path, move) in files.items():
        if move:
            shutil.move(path, folder / name)
            continue
        try:
            os.link(path, folder / name)
        except OSError:
            shutil.copyfile(path, folder / name)


def discard(path: Path) -> None:
    """Delete whatever is there, a folder, a file or a link, as far as that is possible."""
    with suppress(OSError):
        path.unlink()
        return
    shutil.rmtree(path, ignore_errors=True)


def size_of(path: Path) -> int | None:
    """Return the bytes of a file; None for anything else, and for what cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def require_space(folder: Path, num_bytes: int) -> None:
    """Raises WeightsError when the disk cannot take that many bytes more."""
    free = shutil.disk_usage(folder).free - _RESERVE_BYTES
    if num_bytes > free:
        raise WeightsError(
            f"not enough disk space for model files: {_megabytes(num_bytes)} needed, "
            f"{_megabytes(max(free, 0))} free"
        )


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def sync(path: Path) -> None:
    """Wait until the disk has it. Folders cannot be opened for that on Windows."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
