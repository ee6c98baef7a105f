"""The file of predictions: as MegaDetector writes it, or ``speciesnet`` in both its generations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from sightline import __version__
from sightline.jobs.wildlife.megadetector_results import (
    DETECTION_CATEGORIES,
    FORMAT_VERSION,
    Classes,
    image_entry,
)
from sightline.jobs.wildlife.places import Place
from sightline.jobs.writing import replacing

# speciesnet rounds so when it writes a file.
_DECIMALS = 4
_INFO = {"format_version": "20261015"}


class PredictionsFormat(StrEnum):
    """``megadetector``: MegaDetector's batch results 1.6. ``speciesnet-4``: one prediction per photo
    (speciesnet 5.0.0 to 5.0.5). ``speciesnet-5``: one for each detection (5.0.6)."""

    MEGADETECTOR = "megadetector"
    SPECIESNET_4 = "speciesnet-4"
    SPECIESNET_5 = "speciesnet-5"

    @property
    def asked(self) -> str:
        """The ``format`` of ``identify_species`` that the file is made of."""
        return PredictionsFormat.SPECIESNET_5 if self is PredictionsFormat.MEGADETECTOR else self.value


def failed_entry(photo: str, place: Place, version: str) -> dict[str, Any]:
    """The entry of a photo that could not be looked at: neither network has an answer."""
    return {
        "filepath": photo,
        "failures": ["CLASSIFIER", "DETECTOR"],
        **place.known(),
        "model_version": version.removeprefix("v"),
    }


def write_predictions(
    path: Path,
    entries: Iterable[Mapping[str, Any]],
    predictions_format: PredictionsFormat,
    models: Mapping[str, str],
) -> None:
    """Write the entries in their order, one a line, holding one at a time.

    ``entries`` are those of ``predictions_format.asked``; ``models`` are the fingerprints of all models that
    had a say, by name.

    Raises:
        OSError: the file cannot be written; what was there before still is.
    """
    rounded = map(_rounded, entries)
    with replacing(path) as file:
        if predictions_format is PredictionsFormat.MEGADETECTOR:
            classes = Classes()
            info = {
                "format_version": FORMAT_VERSION,
                "detector": ", ".join(sorted(models)),
                "sightline": {"version": __version__, "models": dict(sorted(models.items()))},
            }
            _write_list(file, {"info": info}, "images", (image_entry(each, classes) for each in rounded))
            rest = {
                "detection_categories": DETECTION_CATEGORIES,
                "classification_categories": classes.names,
                "classification_category_descriptions": classes.labels,
            }
            file.write(b",\n" + as_json(rest)[1:] + b"\n")
            return
        head = {"info": _INFO} if predictions_format is PredictionsFormat.SPECIESNET_5 else {}
        _write_list(file, head, "predictions", rounded)
        file.write(b"}\n")


def _write_list(file: BinaryIO, head: Mapping[str, Any], name: str, entries: Iterable[Any]) -> None:
    """An object up to its list ``name``, without the brace that closes it."""
    file.write(f'{json.dumps(head)[:-1]}{", " if head else ""}"{name}": ['.encode())
    for number, entry in enumerate(entries):
        file.write(b",\n " if number else b"\n ")
        file.write(as_json(entry))
    file.write(b"\n]")


def as_json(value: Any) -> bytes:
    """UTF-8. Bytes of a file's name that are no text are escaped, as Python reads such names back."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value
