"""How large a picture may be before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import ImageTooLarge, InvalidImage

if TYPE_CHECKING:
    from sightline.settings import Settings


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Most bytes of a file, most pixels (width × height) and longest side in pixels; all inclusive."""

    max_bytes: int
    max_pixels: int
    max_side: int

    @classmethod
    def from_settings(cls, settings: Settings) -> ImageLimits:
        return cls(settings.image_max_bytes, settings.image_max_pixels, settings.image_max_side)

    def check_bytes(self, num_bytes: int) -> None:
        """Raises ImageTooLarge."""
        if num_bytes > self.max_bytes:
            raise ImageTooLarge(f"The image has {num_bytes} bytes; at most {self.max_bytes} are accepted.")

    def check_size(self, width: int, height: int) -> None:
        """Raises InvalidImage for an empty picture, ImageTooLarge for one past a limit."""
        if width < 1 or height < 1:
            raise InvalidImage(f"The image is empty: its header says {width} × {height} pixels.")
        if max(width, height) > self.max_side:
            raise ImageTooLarge(
                f"The image is {width} × {height} pixels; a side of at most {self.max_side} is accepted."
            )
        if width * height > self.max_pixels:
            raise ImageTooLarge(
                f"The image is {width} × {height} = {width * height} pixels; "
                f"at most {self.max_pixels} are accepted."
            )
