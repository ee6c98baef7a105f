"""Models in one file, for machines without a network.

A bundle is an uncompressed tar (so nothing in it can inflate) of plain files, in this order::

    sightline-bundle.json       {"format": 1, "models": [manifest, ...]}
    LICENCES.txt                licence and homepage of each model
    MODEL/FILE ...              as the manifests list them, models and files sorted by name
    SHA256SUMS                  of all the above, as sha256sum writes it

Reading goes from header to header and accepts exactly these members, in this order. Links, devices, long
names, sparse files and everything else that tar can say are refused unseen, and no path is ever taken
from a member's name.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from sightline.errors import BundleInvalid, DigestMismatch, WeightsError
from sightline.types import Provenance
from sightline.weights.manifest import Manifest
from sightline.weights.wanted import Installed, Wanted

_INDEX = "sightline-bundle.json"
_LICENCES = "LICENCES.txt"
_SUMS = "SHA256SUMS"
_FORMAT = 1
_BLOCK = 512
_CHUNK = 1 << 20
# An index of a hundred models with ten files each is about 300 kB.
_MAX_TEXT_BYTES = 4 * 1024 * 1024
# Eleven octal digits in a ustar header.
_MAX_FILE_BYTES = 8**11 - 1


def write(output: Path, installed: Sequence[Installed]) -> None:
    """Write a bundle; ``output`` appears when it is complete. Equal models give equal bytes.

    Raises:
        DigestMismatch: a file is not what its manifest says.
        WeightsError: a file has 8 GiB or more.
    """
    models = sorted(installed, key=lambda item: _folder(item.manifest))
    manifests = [item.manifest for item in models]
    writing = output.with_name(f".{output.name}.part")
    sums: list[tuple[str, str]] = []
    try:
        with tarfile.open(writing, "w", format=tarfile.USTAR_FORMAT) as archive:
            _add_text(archive, sums, _INDEX, _index(manifests))
            _add_text(archive, sums, _LICENCES, _licences(manifests))
            for item in models:
                for name in sorted(item.files):
                    _add_file(archive, sums, item, name)
            _add_text(archive, [], _SUMS, _sums(sums))
        writing.replace(output)
    finally:
        writing.unlink(missing_ok=True)


class Bundle:
    """A bundle being read. Nothing is written before ``unpack``.

    Raises:
        BundleInvalid: not a bundle, or its index is wrong.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise BundleInvalid("the bundle cannot be opened") from error
        try:
            self._sums: list[tuple[str, str]] = []
            index = self._text(_INDEX)
            self.manifests = _manifests(index)
            if index != _index(self.manifests):
                raise BundleInvalid("the bundle's index is not written as ours are")
            if self._text(_LICENCES) != _licences(self.manifests):
                raise BundleInvalid(f"{_LICENCES} does not match the bundle's index")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def num_bytes(self) -> int:
        return sum(record.size_bytes for manifest in self.manifests for record in manifest.files.values())

    def unpack(self, folders: Sequence[Path]) -> None:
        """Write each model's files to its folder, in the order of ``manifests``. Once per bundle.

        Raises:
            BundleInvalid: anything at all is not as the index says; the folders then hold rubbish.
        """
        for manifest, folder in zip(self.manifests, folders, strict=True):
            for name, record in sorted(manifest.files.items()):
                member = f"{_folder(manifest)}/{name}"
                with (folder / name).open("wb") as file:
                    digest = self._copy(member, record.size_bytes, file)
                if digest != record.sha256:
                    raise BundleInvalid(f"{member} in the bundle is damaged")
        expected = _sums(self._sums)
        if self._text(_SUMS) != expected:
            raise BundleInvalid(f"{_SUMS} does not match the bundle's files")
        # tar fills up to 10 KiB with zeros; nothing may hide behind the end.
        while chunk := self._file.read(_CHUNK):
            if chunk.strip(b"\0"):
                raise BundleInvalid("the bundle holds more than its index says")

    def _text(self, name: str) -> bytes:
        size = self._header(name)
        if size > _MAX_TEXT_BYTES:
            raise BundleInvalid(f"{name} in the bundle is too long")
        text = io.BytesIO()
        self._sums.append((self._body(name, size, text), name))
        return text.getvalue()

    def _copy(self, name: str, size: int, target: BinaryIO) -> str:
        if self._header(name) != size:
            raise BundleInvalid(f"{name} in the bundle has another size than its index says")
        digest = self._body(name, size, target)
        self._sums.append((digest, name))
        return digest

    def _header(self, name: str) -> int:
        """Read the next header, which must be of a plain file of that name; returns its size in bytes."""
        try:
            info = tarfile.TarInfo.frombuf(self._file.read(_BLOCK), "utf-8", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise BundleInvalid(f"the bundle is cut off or damaged before {name}") from error
        if info.name != name or info.type != tarfile.REGTYPE or info.size < 0:
            raise BundleInvalid(f"the bundle has something else where {name} should be")
        return info.size

    def _body(self, name: str, size: int, target: BinaryIO) -> str:
        digest = hashlib.sha256()
        for chunk in self._chunks(name, size):
            digest.update(chunk)
            target.write(chunk)
        padding = self._file.read(-size % _BLOCK)
        if len(padding) != -size % _BLOCK or padding.strip(b"\0"):
            raise BundleInvalid(f"the bundle is cut off or damaged after {name}")
        return digest.hexdigest()

    def _chunks(self, name: str, size: int) -> Iterator[bytes]:
        while size:
            chunk = self._file.read(min(size, _CHUNK))
            if not chunk:
                raise BundleInvalid(f"the bundle is cut off in {name}")
            size -= len(chunk)
            yield chunk


def _folder(manifest: Manifest) -> str:
    return f"{manifest.model}@random" if manifest.provenance is Provenance.RANDOM else manifest.model


def _index(manifests: Sequence[Manifest]) -> bytes:
    models = [json.loads(manifest.to_json()) for manifest in manifests]
    return json.dumps({"format": _FORMAT, "models": models}, indent=2, sort_keys=True).encode() + b"\n"


def _manifests(index: bytes) -> list[Manifest]:
    try:
        content: Any = json.loads(index)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise BundleInvalid("the bundle was written by another version of sightline")
        manifests = [Manifest.from_json(json.dumps(model).encode()) for model in content["models"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BundleInvalid("the bundle's index is damaged") from error
    folders = [_folder(manifest) for manifest in manifests]
    if folders != sorted(set(folders)):
        raise BundleInvalid("the bundle's index lists a model twice or out of order")
    return manifests


def _licences(manifests: Sequence[Manifest]) -> bytes:
    lines = [f"{manifest.model}: {manifest.licence} ({manifest.homepage})" for manifest in manifests]
    return ("\n".join(lines) + "\n").encode()


def _sums(sums: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{digest}  {name}\n" for digest, name in sums).encode()


def _add_text(archive: tarfile.TarFile, sums: list[tuple[str, str]], name: str, text: bytes) -> None:
    archive.addfile(_member(name, len(text)), io.BytesIO(text))
    sums.append((hashlib.sha256(text).hexdigest(), name))


def _add_file(archive: tarfile.TarFile, sums: list[tuple[str, str]], installed: Installed, name: str) -> None:
    record = installed.manifest.files[name]
    if record.size_bytes > _MAX_FILE_BYTES:
        raise WeightsError(f"{name} of {installed.model} is too large for a bundle (8 GiB)")
    member = f"{_folder(installed.manifest)}/{name}"
    with installed.files[name].open("rb") as file:
        reader = _Hashing(file)
        try:
            archive.addfile(_member(member, record.size_bytes), reader)
        except OSError as error:
            # tarfile's word for a file that is shorter than was said.
            if reader.num_bytes >= record.size_bytes:
                raise
            raise DigestMismatch(f"{name} of {installed.model} is cut off") from error
    if reader.digest.hexdigest() != record.sha256:
        raise DigestMismatch(f"{name} of {installed.model} is not what was installed")
    sums.append((record.sha256, member))


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info


class _Hashing(io.RawIOBase):
    """Hashes what passes, so that a large file is read once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        self.num_bytes += len(chunk)
        return chunk


def require_known(manifest: Manifest, known: Mapping[str, Wanted]) -> None:
    """Raises BundleInvalid unless the manifest is of a card in ``known``, with its files."""
    wanted = known.get(manifest.model)
    if wanted is None:
        raise BundleInvalid(f"the bundle holds {manifest.model}, which no card here describes")
    names = {artifact.name for artifact in wanted.kept}
    if set(manifest.files) != names:
        raise BundleInvalid(f"the bundle's files of {manifest.model} are not those of its card here")
    for name, record in manifest.files.items():
        if manifest.provenance is not Provenance.RANDOM and not wanted.accepts(name, record):
            raise BundleInvalid(f"{name} of {manifest.model} in the bundle is not the file its card pins")


def imported(manifest: Manifest) -> Manifest:
    """Return the manifest as it is installed: imported, or random as before."""
    random = manifest.provenance is Provenance.RANDOM
    provenance = Provenance.RANDOM if random else Provenance.IMPORTED
    prefix = "" if manifest.origin.startswith("bundle; ") else "bundle; "
    return replace(manifest, provenance=provenance, origin=f"{prefix}{manifest.origin}")
