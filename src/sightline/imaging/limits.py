"""How large a picture may be before anything is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import ImageTooLarge, InvalidImage, UnsupportedImage

if TYPE_CHECKING:
    from sightline.settings import Settings


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Most bytes of a file, most pixels (width × height) and longest side in pixels; all inclusive.

    ``refused_formats`` are those that the settings switch off, sorted. With ``fills_truncated`` a JPEG, PNG
    or BMP whose end is missing is decoded as far as it goes: see ``Picture.is_filled``. ``decode_workers``
    processes decode; 0: this process does.
    """

    max_bytes: int
    max_pixels: int
    max_side: int
    refused_formats: tuple[str, ...] = ()
    fills_truncated: bool = False
    decode_workers: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> ImageLimits:
        switches = (
            ("avif", settings.image_avif), ("heif", settings.image_heic), ("tiff", settings.image_tiff),
        )  # fmt: skip
        refused = tuple(name for name, is_on in switches if not is_on)
        return cls(
            settings.image_max_bytes,
            settings.image_max_pixels,
            settings.image_max_side,
            refused,
            decode_workers=_number_of_workers(settings.decode_workers),
        )

    def check_format(self, image_format: str) -> None:
        """Raises UnsupportedImage."""
        if image_format in self.refused_formats:
            name = "HEIC" if image_format == "heif" else image_format.upper()
            raise UnsupportedImage(f"{name} images are switched off on this server; send it as JPEG or PNG.")

    @property
    def written(self) -> tuple[int | str, ...]:
        """All of it in a row, for digests. A format that is not switched off does not change it."""
        return (self.max_bytes, self.max_pixels, self.max_side, *self.refused_formats)

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


def _number_of_workers(asked: int) -> int:
    """-1: one per core that this process may use, but not fewer than 2 or more than 8."""
    if asked >= 0:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(2, cores), 8)
