"""How operations write what a detector found."""

from __future__ import annotations

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
