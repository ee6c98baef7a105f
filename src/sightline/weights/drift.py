"""The measured drift of a detector in half precision, stored beside the weights it was measured on.

``sightline models drift --keep`` leaves it there. A record never travels in a bundle: it speaks of one
machine's arithmetic and of one user's photos.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sightline.settings import Precision
from sightline.weights.manifest import DRIFT_NAME, MODEL_NAME, FileName, Line, Manifest, Sha256
from sightline.weights.wanted import Installed

# A record has about one kilobyte.
_MAX_BYTES = 64 * 1024
_STRICT = ConfigDict(extra="forbid", strict=True)

Figure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Spread:
    """How far many things moved: the middle one, the 95th percentile, the greatest."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    median: Figure
    percentile_95: Figure
    greatest: Figure


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits within which a difference does not count as drift.

    Attributes:
        pixels, score: 95 of 100 finds move no further than so many pixels of the photo, and their scores no
            further than this.
        alone_share: share of finds that one precision may find alone.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    pixels: Figure = 1.0
    score: Figure = 0.02
    alone_share: Share = 0.01


@dataclass(frozen=True, slots=True)
class FindFigures:
    """How finds differ between f32 and half precision.

    A find counts if either precision gives it the least score or more. Its partner has the same label and
    may have any score.

    Attributes:
        both: finds with a partner; ``crossed`` of them have the least score in one precision only.
        only_f32, only_half: finds without one.
        corners_px: of each pair, the greatest difference of a coordinate, in pixels of the upright photo.
        scores: of each pair. Both spreads are None where there is no pair.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    photos: Count
    both: Count
    crossed: Count
    only_f32: Count
    only_half: Count
    corners_px: Spread | None
    scores: Spread | None

    @property
    def finds(self) -> int:
        return self.both + self.only_f32 + self.only_half


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """One measurement.

    Attributes:
        fingerprint, digests: of the weights (and their preprocessing) it belongs to; digests by file name.
        precision: what was compared with f32.
        arithmetic: whose: runtime, its version and the device.
        min_score: least score of the finds that counted.
        f32_s, half_s: seconds of computing per photo, the median.
        measured_at: ISO 8601 in UTC.
        version: of sightline.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    format: Literal[1]
    model: Annotated[str, Field(pattern=MODEL_NAME)]
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    digests: Mapping[FileName, Sha256]
    precision: Precision
    arithmetic: Line
    min_score: Share
    limits: Limits
    figures: FindFigures
    within_limits: bool
    f32_s: Figure
    half_s: Figure
    measured_at: Line
    version: Line

    def belongs_to(self, manifest: Manifest) -> bool:
        """Whether it was measured on exactly these weights, prepared for in the same way."""
        return (self.model, self.fingerprint, dict(self.digests)) == (
            manifest.model,
            manifest.fingerprint,
            digests_of(manifest),
        )

    def to_json(self) -> bytes:
        """Return the record with the digest of its fields: a changed figure could change how it is served."""
        fields = _ADAPTER.dump_python(self, mode="json")
        return json.dumps({**fields, "sha256": _digest(fields)}, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> DriftRecord:
        """Raises ValueError unless ``data`` is what :meth:`to_json` wrote, with every field well formed."""
        try:
            fields = json.loads(data)
            if not isinstance(fields, dict) or fields.pop("sha256", None) != _digest(fields):
                raise ValueError("not a record of drift: its digest is wrong")
            return _ADAPTER.validate_json(json.dumps(fields))
        except ValidationError as error:
            raise ValueError(f"not a record of drift: {error.error_count()} fields are wrong") from error
        except RecursionError:
            raise ValueError("not a record of drift: nested too deeply") from None


_ADAPTER = TypeAdapter(DriftRecord)


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def digests_of(manifest: Manifest) -> dict[str, str]:
    """sha256 by file name."""
    return {name: file.sha256 for name, file in manifest.files.items()}


def read_record(installed: Installed) -> DriftRecord | None:
    """The record beside installed weights; None where nothing was measured.

    Raises:
        ValueError: it is damaged or of other weights; the message says which, as the end of a sentence.
    """
    path = next((path.parent / DRIFT_NAME for path in installed.files.values()), None)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError("the record of its drift cannot be read") from error
    try:
        record = DriftRecord.from_json(data if len(data) <= _MAX_BYTES else b"")
    except ValueError as error:
        raise ValueError("the record of its drift is damaged") from error
    if not record.belongs_to(installed.manifest):
        raise ValueError("the record of its drift is of other weights")
    return record
