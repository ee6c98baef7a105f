"""A canvas for diagrams: filled shapes, lines and short texts, with smooth edges, as a PNG file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

# Pillow draws without smoothing. Drawing larger and shrinking smooths: pixels inside a shape keep its colour.
_OVERSAMPLING = 2


class Canvas:
    """``width`` × ``height`` pixels of one colour to draw on.

    Positions and sizes are in pixels, fractions allowed: x to the right, y down, (0, 0) the upper left corner
    of the first pixel. What reaches past an edge is cut off there.
    """

    def __init__(self, width: int, height: int, background: Colour) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * _OVERSAMPLING, height * _OVERSAMPLING), background)
        self._draw = ImageDraw.Draw(self._image)
        self._fonts: dict[float, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    @classmethod
    def over(cls, pixels: NDArray[np.uint8]) -> Canvas:
        """A canvas with a picture on it: uint8 [height, width, 3]."""
        from PIL import Image

        height, width = pixels.shape[:2]
        canvas = cls(width, height, (0, 0, 0))
        picture = Image.fromarray(pixels)
        canvas._image.paste(picture.resize(canvas._image.size, Image.Resampling.NEAREST))
        return canvas

    def polygon(self, corners: Sequence[Point], fill: Colour) -> None:
        self._draw.polygon(_larger(corners), fill=fill)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self._draw.line(_larger(points), fill=colour, width=_thickness(width), joint="curve")

    def disc(self, centre: Point, radius: float, fill: Colour, outline: Colour, width: float) -> None:
        """A filled circle; its outline of ``width`` lies inside ``radius``."""
        (at,) = _larger([centre])
        self._draw.circle(at, radius * _OVERSAMPLING, fill=fill, outline=outline, width=_thickness(width))

    def rectangle(self, corner: Point, opposite: Point, fill: Colour) -> None:
        self._draw.rectangle(_larger([corner, opposite]), fill=fill)

    def text(self, centre: Point, text: str, size: float, colour: Colour) -> None:
        """One line with its middle at ``centre``; ``size`` is the height of the font in pixels."""
        (at,) = _larger([centre])
        self._draw.text(at, text, fill=colour, font=self._font(size), anchor="mm")

    def text_width(self, text: str, size: float) -> float:
        return self._draw.textlength(text, font=self._font(size)) / _OVERSAMPLING

    def png(self) -> bytes:
        """The picture as it is now, as a PNG file of ``width`` × ``height`` pixels."""
        buffer = io.BytesIO()
        self._image.reduce(_OVERSAMPLING).save(buffer, "PNG")
        return buffer.getvalue()

    def jpeg(self, quality: int = 90) -> bytes:
        """The picture as a JPEG file."""
        buffer = io.BytesIO()
        self._image.reduce(_OVERSAMPLING).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    def _font(self, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """Pillow's own font: Latin letters, on every machine the same."""
        from PIL import ImageFont

        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(size * _OVERSAMPLING)
        return self._fonts[size]


def _larger(points: Sequence[Point]) -> list[Point]:
    return [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points]


def _thickness(width: float) -> int:
    return max(1, round(width * _OVERSAMPLING))
