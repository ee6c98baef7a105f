"""The few facts every header reader gives, and the errors they share."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.errors import InvalidImage


@dataclass(frozen=True, slots=True)
class Placement:
    """Where what a decoder returns is on the picture: its place, which may be outside, and its size.

    The first frame of an animation may cover a part only; the rest is transparent. A clean aperture hides
    what is decoded around it.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Header:
    """Size in pixels as stored, and the EXIF orientation (1 to 8) that makes it upright.

    ``placement`` is None where a decoder returns the picture and nothing else.
    """

    width: int
    height: int
    orientation: int = 1
    placement: Placement | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the orientation is applied: 5 to 8 lie on their side."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class Truncated(InvalidImage):
    """The end of the file is missing."""


def truncated(name: str) -> Truncated:
    return Truncated(f"The {name} image is truncated; send the whole file.")


def damaged(name: str, what: str) -> InvalidImage:
    return InvalidImage(f"The {name} image is damaged: {what}.")
