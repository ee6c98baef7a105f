"""Photos with answers drawn over them: boxes, landmarks and lines of text, with their names and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from sightline.imaging import Picture, resize
from sightline.imaging.drawing import Canvas, Colour, Point
from sightline.runtime.analyzer import Outcome

# Longer side of a drawn photo, in pixels: lines and names stay readable on a screen.
MAX_SIDE = 2000
# Of one answer: a photo covered with hundreds of boxes shows nothing.
MAX_MARKS = 100
# The palette of Okabe and Ito, whose colours differ for people who do not see all of them.
_COLOURS: Sequence[Colour] = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0))
_WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something with a place. ``corners`` and ``points`` are in pixels of the upright photo."""

    corners: tuple[Point, ...]
    name: str
    points: tuple[Point, ...] = ()


def marks_of(data: Any) -> list[Mark]:
    """Return what has a box or four corners in an answer, as JSON-able data, in its order."""
    return list(_marks(data))


def annotated(picture: Picture, outcomes: Sequence[Outcome]) -> bytes:
    """Return the photo with its answers as a JPEG file, the longer side at most 2,000 pixels.

    Raises:
        ImageError: the photo does not decode.
    """
    scale = min(1.0, MAX_SIDE / max(picture.width, picture.height))
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    canvas = Canvas.over(resize(picture.reduced(min(width, height)), width, height))
    for outcome, colour in zip(outcomes, cycle(_COLOURS), strict=False):
        if outcome.answer is not None and outcome.answer.data is not None:
            for mark in marks_of(outcome.answer.data.model_dump(mode="json"))[:MAX_MARKS]:
                _draw(canvas, mark, colour, scale)
    return canvas.jpeg()


def _marks(data: Any) -> Iterator[Mark]:
    if isinstance(data, list):
        for each in data:
            yield from _marks(each)
        return
    if not isinstance(data, dict):
        return
    corners = _corners(data)
    if corners:
        points = tuple((float(x), float(y)) for x, y in data.get("landmarks") or ())
        yield Mark(corners, _name(data), points)
        return
    for each in data.values():
        yield from _marks(each)


def _corners(data: dict[str, Any]) -> tuple[Point, ...]:
    quad, box = data.get("quad"), data.get("box")
    if isinstance(quad, list | tuple) and len(quad) == 4:
        return tuple((float(x), float(y)) for x, y in quad)
    if isinstance(box, list) and len(box) == 4:
        x0, y0, x1, y1 = map(float, box)
        return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return ()


def _name(data: dict[str, Any]) -> str:
    prediction = data.get("prediction")
    named = prediction if isinstance(prediction, dict) else data
    text = named.get("common_name") or named.get("text") or named.get("label") or named.get("name") or ""
    score = named.get("score", named.get("confidence"))
    return f"{text} {100 * score:.0f} %".strip() if isinstance(score, float | int) else str(text)


def _draw(canvas: Canvas, mark: Mark, colour: Colour, scale: float) -> None:
    size = max(12.0, canvas.height / 50)
    thickness = max(1.5, size / 8)
    closed = [(x * scale, y * scale) for x, y in (*mark.corners, mark.corners[0])]
    canvas.line(closed, _WHITE, 2 * thickness)
    canvas.line(closed, colour, thickness)
    for x, y in mark.points:
        canvas.disc((x * scale, y * scale), 1.5 * thickness, colour, _WHITE, thickness / 2)
    if not mark.name:
        return
    width = canvas.text_width(mark.name, size) + size / 2
    left = min(max(0.0, min(x for x, _ in closed)), max(0.0, canvas.width - width))
    top = max(0.0, min(y for _, y in closed) - 1.3 * size)
    canvas.rectangle((left, top), (left + width, top + 1.3 * size), colour)
    canvas.text((left + width / 2, top + 0.65 * size), mark.name, size, _WHITE)
