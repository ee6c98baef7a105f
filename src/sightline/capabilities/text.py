"""Text in pictures."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.capabilities import Capability
from sightline.imaging import View


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text in a picture.

    ``score`` is the mean probability of its characters, 0 to 1. ``quad`` has four corners (x, y) in pixels
    of the view: top left, top right, bottom right, bottom left of the text as it is read from left to right.
    """

    text: str
    score: float
    quad: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a picture: its lines in reading order, and how many more there were that were not read."""

    lines: tuple[TextLine, ...]
    unread: int = 0


TEXT_LINES: Capability[View, PageText] = Capability("text_lines", "The lines of text in a view.")

CAPABILITIES = (TEXT_LINES,)
