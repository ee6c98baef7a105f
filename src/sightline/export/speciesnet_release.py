"""The files of a SpeciesNet release: in a folder or archive of the user's, at a mirror, or at Kaggle."""

from __future__ import annotations

import json
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from sightline.errors import ExportFailed, SightlineError, SourceMissing, SourceUnreachable
from sightline.export import downloads, hub
from sightline.models import speciesnet, speciesnet_ensemble
from sightline.models.speciesnet import LABELS
from sightline.models.speciesnet_ensemble import GEOFENCE_FILE, TAXONOMY_FILE
from sightline.weights.sources import HubFile

_log = logging.getLogger(__name__)

# What a release's classifier is called here; it is no artifact, but what one is made from.
PICKLE: Final = "classifier.pt"

KAGGLE_URL: Final = "https://www.kaggle.com/api/v1/models/google/speciesnet/pyTorch/{version}/1/download"

_DESCRIPTION: Final = "info.json"
# What the release's description calls its files, and how they are found where it is missing.
_KEYS: Final = {
    "classifier": PICKLE,
    "classifier_labels": LABELS,
    "taxonomy": TAXONOMY_FILE,
    "geofence": GEOFENCE_FILE,
}
_PATTERNS: Final = {
    PICKLE: "always_crop*.pt",
    LABELS: "*labels*.txt",
    TAXONOMY_FILE: "taxonomy*.txt",
    GEOFENCE_FILE: "geofence*.json",
}
_SUFFIXES: Final = (".pt", ".txt", ".json")

Files = Mapping[str, Path]


def gather(version: str, needed: Collection[str], source: Path | None, scratch: Path) -> Files:
    """Paths of the ``needed`` files of a release such as "v4.0.3a"; archives are unpacked into ``scratch``.

    Raises:
        SourceUnreachable, SourceMissing: there is no ``source``, and no place on the network has them.
        ExportFailed: ``source`` is of another release, or lacks something.
    """
    if source is not None:
        return _required(_in_source(version, source, scratch), needed, source.name)
    try:
        return _mirrored(version, needed)
    except (SourceMissing, SourceUnreachable) as error:
        first: SightlineError = error
    name = f"speciesnet-{version}.tar.gz"
    try:
        archive = downloads.fetch(KAGGLE_URL.format(version=version), name)
    except (SourceMissing, SourceUnreachable) as error:
        raise type(error)(f"{first}; {error}; --from takes a copy of the release") from error
    return _required(_in_source(version, archive, scratch), needed, name)


def _mirrored(version: str, needed: Collection[str]) -> Files:
    """From the repositories that the cards name."""
    cards = [each.card for each in (*speciesnet.MODELS, *speciesnet_ensemble.MODELS)]
    places = {
        artifact.name: source
        for card in cards
        if card.space == version
        for artifact in card.artifacts
        for source in artifact.sources
        if isinstance(source, HubFile)
    }
    if LABELS in places:  # the classifier lies beside its labels, and has the start of their name
        labels = places[LABELS]
        stem = labels.path.partition(".labels")[0]
        places[PICKLE] = HubFile(labels.repo, f"{stem}.pt", labels.revision)
    if missing := [name for name in needed if name not in places]:
        raise SourceMissing(f"no mirror is known of {', '.join(missing)} of {version}")
    return {name: hub.fetch(places[name].repo, places[name].path, places[name].revision) for name in needed}


def _in_source(version: str, source: Path, scratch: Path) -> dict[str, Path]:
    if source.is_dir():
        return _in_folder(version, source)
    if not source.is_file():
        raise ExportFailed(f"there is no file or folder {source.name}")
    if source.suffix == ".pt":
        return {**_in_folder(version, source.parent), PICKLE: source}
    _unpack(source, scratch)
    return _in_folder(version, scratch)


def _in_folder(version: str, folder: Path) -> dict[str, Path]:
    description = folder / _DESCRIPTION
    if not description.is_file():
        found = {name: sorted(folder.glob(pattern)) for name, pattern in _PATTERNS.items()}
        return {name: paths[0] for name, paths in found.items() if len(paths) == 1}
    try:
        told = json.loads(description.read_text(encoding="utf-8"))
        names = {_KEYS[key]: str(value) for key, value in told.items() if key in _KEYS}
        described = f"v{str(told['version']).removeprefix('v')}"
    except (ValueError, KeyError, AttributeError) as error:
        raise ExportFailed(f"{_DESCRIPTION} does not describe a release of SpeciesNet") from error
    if described != version:
        raise ExportFailed(f"the files are of {described}, and {version} is to be exported")
    # Whatever a name says, only files beside the description count.
    paths = {name: folder / PurePosixPath(value).name for name, value in names.items()}
    return {name: path for name, path in paths.items() if path.is_file()}


def _required(files: Files, needed: Collection[str], where: str) -> Files:
    if missing := [name for name in needed if name not in files]:
        patterns = ", ".join(_PATTERNS[name] for name in missing)
        raise ExportFailed(f"{where} holds no {', '.join(missing)} (one file like {patterns})")
    return {name: files[name] for name in needed}


def _unpack(archive: Path, folder: Path) -> None:
    """Weights, texts and JSON out of all folders of a tar or zip file, under their last names."""
    _log.info("unpacking %s", archive.name)
    try:
        with _members(archive) as members:
            for name, content in members:
                with (folder / name).open("wb") as output:
                    shutil.copyfileobj(content, output)
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ExportFailed(f"{archive.name} is no intact tar or zip file of a release") from error


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            names = {_wanted(each.filename): each for each in file.infolist() if not each.is_dir()}
            yield ((name, file.open(member)) for name, member in names.items() if name)
    else:
        with tarfile.open(archive) as tar:
            files = {_wanted(each.name): each for each in tar.getmembers() if each.isfile()}
            opened = ((name, tar.extractfile(member)) for name, member in files.items() if name)
            yield ((name, content) for name, content in opened if content is not None)


def _wanted(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/")).name
    return name if name.endswith(_SUFFIXES) and not name.startswith(".") else ""
