"""The photos of a run, and what files say of single ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sightline.errors import InvalidRequest
from sightline.jobs.wildlife.boxes import Boxes, read_boxes
from sightline.jobs.wildlife.identifying import Query
from sightline.jobs.wildlife.photo_names import PhotoNames
from sightline.jobs.wildlife.photos import PhotoFolder
from sightline.jobs.wildlife.places import Place, Places
from sightline.jobs.wildlife.places_file import read_places

_STDIN = Path("-")
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run looks at. ``boxes``: detections of photos that the detector is not asked about."""

    photos: PhotoFolder
    places: Places
    boxes: Mapping[str, Boxes] = field(default_factory=dict)

    @property
    def needs_detector(self) -> bool:
        return not self.boxes or any(name not in self.boxes for name in self.photos.names())


def read_inputs(
    photos: PhotoFolder,
    usual: Place,
    query: Query,
    *,
    filepaths: Path | None = None,
    instances: Path | None = None,
    detections: Path | None = None,
    unmatched: Callable[[str], None] | None = None,
) -> Inputs:
    """Read the files that are given. ``unmatched`` is called with what in a file cannot be used.

    Raises:
        InvalidRequest: a file is something else, or ``unmatched`` is None and something cannot be used.
        OSError: the places or the boxes cannot be read.
    """
    tell = unmatched or _refuse
    own: Mapping[str, Place] = {}
    boxes: Mapping[str, Boxes] = {}
    given = [path for path in (filepaths, instances, detections) if path is not None]
    names = PhotoNames(photos.root, photos.names() if given else (), _bases(given))
    if instances is not None:
        found = read_places(instances, names, query.about)
        own = found.places
        _tell(tell, instances, found.problems)
    if detections is not None:
        known = read_boxes(detections, names, lambda boxes: query.about(Place(), boxes))
        boxes = known.boxes
        _tell(tell, detections, known.problems)
    if filepaths is not None:
        only, problems = _chosen(filepaths, names)
        photos = replace(photos, only=only)
        _tell(tell, filepaths, problems)
    return Inputs(photos, Places(usual, own), boxes)


def _bases(files: Sequence[Path]) -> list[Path]:
    """Where relative paths in files can begin, other than in the photos' folder."""
    return list(dict.fromkeys([Path(), *(file.parent for file in files)]))


def _chosen(path: Path, names: PhotoNames) -> tuple[frozenset[str], list[str]]:
    """The photos in a list of paths, one a line, and the lines that are none."""
    chosen: set[str] = set()
    problems = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            photo = names.find(line)
        except InvalidRequest as error:
            problems.append(f"line {number}: {error}")
            continue
        if photo is None:
            problems.append(f"line {number}: no such photo in the folder: {line.strip()}")
        else:
            chosen.add(photo)
    return frozenset(chosen), problems


def _lines(path: Path) -> Iterator[str]:
    try:
        data = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}") from None
    # Names of files may hold bytes that are not text.
    return iter(data.decode("utf-8-sig", "surrogateescape").splitlines())


def _tell(tell: Callable[[str], None], path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = f"; and {len(problems) - _MOST_SHOWN:,} more" if len(problems) > _MOST_SHOWN else ""
        tell(f"{path.name}: {'; '.join(problems[:_MOST_SHOWN])}{more}")


def _refuse(problems: str) -> None:
    raise InvalidRequest(f"{problems}. Correct the file, or continue without: --ignore-unmatched")
