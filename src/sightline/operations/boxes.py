"""How operations write what a detector found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from pydantic import Field

from sightline.operations import Result
from sightline.types import Detection

# Kinds of things that are listed for people.
_MOST_KINDS = 5


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


def kinds(found: Iterable[tuple[str, float]]) -> str:
    """Return the first five kinds of things by name, with their number and best score, for people.

    Names stay as they are: English plurals are irregular, and names may be Latin.
    """
    scores: dict[str, list[float]] = {}
    for name, score in found:
        scores.setdefault(name, []).append(score)
    listed = [
        f"{f'{len(each)} × ' if len(each) > 1 else ''}{name} ({max(each):.0%})"
        for name, each in scores.items()
    ]
    more = [f"and {len(listed) - _MOST_KINDS} more kinds"] if len(listed) > _MOST_KINDS else []
    return ", ".join([*listed[:_MOST_KINDS], *more]) or "nothing found"


def counted(found: Sequence[Scored], name: str) -> str:
    """Return how many there are and the scores of the first three, such as "2 faces (99 %, 87 %)"."""
    if not found:
        return f"no {name}"
    scores = ", ".join(f"{each.score:.0%}" for each in found[:3]) + (", …" if len(found) > 3 else "")
    return f"{len(found)} {name}{'' if len(found) == 1 else 's'} ({scores})"
