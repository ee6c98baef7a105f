"""The file of predictions as the ``speciesnet`` package writes it, in both its generations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from sightline.jobs.wildlife.places import Place
from sightline.jobs.writing import replacing

# speciesnet rounds so when it writes a file.
_DECIMALS = 4
_INFO = {"format_version": "20261015"}


class PredictionsFormat(StrEnum):
    """``speciesnet-4``: one prediction per photo (speciesnet 5.0.0 to 5.0.5). ``speciesnet-5``: one for each
    detection (5.0.6)."""

    SPECIESNET_4 = "speciesnet-4"
    SPECIESNET_5 = "speciesnet-5"


def failed_entry(photo: str, place: Place, version: str) -> dict[str, Any]:
    """The entry of a photo that could not be looked at: neither network has an answer."""
    return {
        "filepath": photo,
        "failures": ["CLASSIFIER", "DETECTOR"],
        **place.known(),
        "model_version": version.removeprefix("v"),
    }


def write_predictions(
    path: Path, entries: Iterable[Mapping[str, Any]], predictions_format: PredictionsFormat
) -> None:
    """Write the entries in their order, one a line, holding one at a time.

    Raises:
        OSError: the file cannot be written; what was there before still is.
    """
    with replacing(path) as file:
        info = {"info": _INFO} if predictions_format is PredictionsFormat.SPECIESNET_5 else {}
        file.write(f'{json.dumps(info)[:-1]}{", " if info else ""}"predictions": ['.encode())
        for number, entry in enumerate(entries):
            file.write(b",\n " if number else b"\n ")
            file.write(as_json(_rounded(entry)))
        file.write(b"\n]}\n")


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
