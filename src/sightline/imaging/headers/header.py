"""The few facts every header reader gives, and the errors they share."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.errors import InvalidImage


@dataclass(frozen=True, slots=True)
class Header:
    """Size in pixels as stored, and the EXIF orientation (1 to 8) that makes it upright."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after the orientation is applied: 5 to 8 lie on their side."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def truncated(name: str) -> InvalidImage:
    return InvalidImage(f"The {name} image is truncated; send the whole file.")


def damaged(name: str, what: str) -> InvalidImage:
    return InvalidImage(f"The {name} image is damaged: {what}.")
