"""How operations write what a detector found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import Field

from sightline.operations import Result
from sightline.types import Detection


class BoundingBox(Result):
    """Whole pixels of the upright picture. A face may reach past the picture's edge: it is not clamped."""

    box: list[int] = Field(description="[x_min, y_min, x_max, y_max]", min_length=4, max_length=4)
    score: float = Field(description="The detector's confidence, 0 to 1.")
    label: str
    landmarks: list[tuple[float, float]] = Field(
        default=[], description="(x, y) of left eye, right eye, nose, left and right mouth corner, for faces."
    )


def written(found: Detection) -> BoundingBox:
    """Corners are cut toward zero; landmarks keep two decimals."""
    return BoundingBox(
        box=found.box.truncated().as_list(),
        score=found.score,
        label=found.label,
        landmarks=[(round(x, 2), round(y, 2)) for x, y in found.landmarks],
    )


class Scored(Protocol):
    """Something that was found with a score between 0 and 1."""

    @property
    def score(self) -> float: ...


def counted(found: Sequence[Scored], name: str) -> str:
    """Return how many there are and the scores of the first three, such as "2 faces (99 %, 87 %)"."""
    if not found:
        return f"no {name}"
    scores = ", ".join(f"{each.score:.0%}" for each in found[:3]) + (", …" if len(found) > 3 else "")
    return f"{len(found)} {name}{'' if len(found) == 1 else 's'} ({scores})"
