"""What another detector found in photos: a file of MegaDetector or of speciesnet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.errors import InputError, InvalidRequest
from sightline.jobs.wildlife.photo_names import PhotoNames

# Detections as ``identify_species`` wants them.
Boxes = Sequence[Mapping[str, Any]]

_LABELS = {"animal": "animal", "person": "human", "human": "human", "vehicle": "vehicle"}
_CATEGORIES = {"1": "animal", "2": "human", "3": "vehicle"}


@dataclass(slots=True)
class BoxesFile:
    """Detections by the photo's name below the folder, and what in the file cannot be used."""

    boxes: dict[str, Boxes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def digest_of(boxes: Boxes) -> str:
    """What tells that the detections of a photo are others."""
    return hashlib.sha256(json.dumps(list(boxes), sort_keys=True).encode()).hexdigest()[:16]


def read_boxes(path: Path, photos: PhotoNames, check: Callable[[Boxes], object]) -> BoxesFile:
    """Return the detections in a file: MegaDetector's batch results or speciesnet's predictions.

    Photos that failed there are left out. ``check`` is called with the detections of each photo and raises
    an InputError if they make no sense.

    Raises:
        InvalidRequest: the file is something else, or a detection is wrong; the message says of which photo.
        OSError: it cannot be read.
    """
    found = BoxesFile()
    for filepath, detections in _entries(path):
        try:
            boxes = [_box(each) for each in detections]
            check(boxes)
        except (LookupError, TypeError, InputError) as error:
            raise InvalidRequest(f"{path.name}: {filepath}: {_reason(error)}") from None
        try:
            photo = photos.find(filepath)
        except InvalidRequest as error:
            found.problems.append(str(error))
            continue
        if photo is None:
            found.problems.append(f"no such photo in the folder: {filepath}")
        elif found.boxes.setdefault(photo, boxes) != boxes:
            found.problems.append(f"two lists of detections for one photo: {filepath}")
    return found


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else "a detection needs category, conf and bbox"


def _entries(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Each photo that was looked at, and its detections with a ``label`` each."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        if "predictions" in content:
            for entry in content["predictions"]:
                if "failures" not in entry and "detections" in entry:
                    yield str(entry["filepath"]), list(entry["detections"])
            return
        names = content.get("detection_categories", _CATEGORIES)
        for entry in content["images"]:
            if entry.get("failure") is None and entry.get("detections") is not None:
                yield str(entry["file"]), [_named(each, names) for each in entry["detections"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(
            f"{path.name} must be MegaDetector's batch results, with 'images', or predictions of speciesnet, "
            f"with 'predictions': {type(error).__name__}: {error}"
        ) from None


def _named(detection: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {**detection, "label": names[str(detection["category"])]}


def _box(detection: Mapping[str, Any]) -> dict[str, Any]:
    """Raises LookupError or TypeError: something is missing, or the category is unknown."""
    label = str(detection["label"]).lower()
    if label not in _LABELS:
        expected = ", ".join(_LABELS)
        raise InvalidRequest(f"unknown category of a detection: {label[:50]}; expected {expected}")
    return {"label": _LABELS[label], "conf": detection["conf"], "bbox": list(detection["bbox"])}
