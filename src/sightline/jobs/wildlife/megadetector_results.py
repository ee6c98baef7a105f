"""The batch results of MegaDetector, format 1.6, which Timelapse and MegaDetector's tools read.

Written as ``megadetector`` 10.0.28 converts the predictions of speciesnet 5.0.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.taxa import HUMAN, LEVELS, Taxon

FORMAT_VERSION = "1.6"
DETECTION_CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}


class Classes:
    """Numbers for the labels of a release, given in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def number(self, label: str) -> str:
        return self._numbers.setdefault(label, str(len(self._numbers)))

    @property
    def names(self) -> dict[str, str]:
        return {number: common_name(label) for label, number in self._numbers.items()}

    @property
    def labels(self) -> dict[str, str]:
        return {number: label for label, number in self._numbers.items()}


def image_entry(entry: Mapping[str, Any], classes: Classes) -> dict[str, Any]:
    """An entry of ``images`` for one of speciesnet's predictions."""
    if "failures" in entry:
        return {"file": entry["filepath"], "failure": str(list(entry["failures"])), "detections": None}
    written = {
        "file": entry["filepath"],
        "detections": [_detection(each, classes) for each in entry["detections"]],
    }
    # Readers of the format skip fields that they do not know.
    return written | ({"capture": entry["capture"]} if "capture" in entry else {})


def _detection(detection: Mapping[str, Any], classes: Classes) -> dict[str, Any]:
    written = {
        "category": detection["category"],
        "conf": float(detection["conf"]),
        "bbox": list(detection["bbox"]),
    }
    raw = detection.get("raw_classifications")
    verdict = detection.get("processed_classification")
    if raw is not None and verdict is not None:
        numbered = [
            [classes.number(label), score] for label, score in zip(raw["classes"], raw["scores"], strict=True)
        ]
        label = HUMAN if _is_human(verdict["class"]) else verdict["class"]
        written["classifications"] = [[classes.number(label), verdict["score"]]]
        written["raw_classifications"] = numbered
    return written


def _is_human(label: str) -> bool:
    """Whether that converter writes the species: verdicts on people are often "homo species"."""
    return "hominidae;homo" in label or "homo species" in label


def common_name(label: str) -> str:
    """The common name in a label, or a name made of its finest taxon, such as "felidae family"."""
    try:
        taxon = Taxon.parse(label)
    except ValueError:  # of another classifier
        return label.strip() or "unknown"
    if taxon.common_name.strip() or taxon.level is None:
        return taxon.common_name.strip() or label
    finest = taxon.levels[LEVELS.index(taxon.level)]
    if taxon.level == "species":
        return f"{taxon.levels[-2]} {finest}"
    # The convention there: a genus is named "vulpes species".
    return f"{finest} {'species' if taxon.level == 'genus' else taxon.level}"
