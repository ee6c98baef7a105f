"""Pillow's antialiased resampling, on the vector instructions of the processor where their library is there.

A filter that is stretched by the factor of reduction goes over the rows, its sums are rounded to whole levels
and cut to 0..255, then it goes over the columns: that is ``PIL.Image.resize`` in every version before 13, and
in most sizes since. Always in this order here, so that answers do not change with Pillow's version.

``fast_image_resize`` (the library behind ``cykooz_resizer``) computes the same sums with factors of 16 bits
instead of 22, in a sixth of the time: one value in 250 differs from Pillow's, by one level, or by two where
black and white alternate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from sightline.imaging.raster import Pixels, Raster, as_image, size_of

if TYPE_CHECKING:
    from cykooz_resizer import ImageData, ResizeOptions

Resample = Literal["bilinear", "bicubic", "lanczos"]

# Half the width of each filter at a scale of 1, in pixels (Pillow's Resample.c).
_SUPPORTS: Final = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
# Their names in the fast library. Pillow's bicubic has a = -0.5, which is Catmull and Rom's.
_FAST_NAMES: Final = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
# Rows go through in bands of so many pixels: what is copied for the library stays small and in the cache.
_BAND_PIXELS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a raster in fractions of its pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def inside(self, size: tuple[int, int]) -> Part:
        """Without the last bit by which a product of fractions may lie outside."""
        return Part(max(self.left, 0), max(self.top, 0), min(self.right, size[0]), min(self.bottom, size[1]))

    def needed(self, size: tuple[int, int], width: int, height: int, resample: Resample) -> Rectangle:
        """The pixels that have a share in it when it is resampled to ``width`` × ``height``."""
        across = _SUPPORTS[resample] * max((self.right - self.left) / width, 1.0)
        down = _SUPPORTS[resample] * max((self.bottom - self.top) / height, 1.0)
        return Rectangle(
            max(math.floor(self.left - across) - 1, 0),
            max(math.floor(self.top - down) - 1, 0),
            min(math.ceil(self.right + across) + 1, size[0]),
            min(math.ceil(self.bottom + down) + 1, size[1]),
        )

    def within(self, rectangle: Rectangle) -> Part:
        """The same place, counted from the corner of ``rectangle``."""
        x, y = rectangle.left, rectangle.top
        return Part(self.left - x, self.top - y, self.right - x, self.bottom - y)


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Whole pixels of a raster, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def bands(self) -> Iterator[Rectangle]:
        """Its rows, a million pixels at a time."""
        rows = max(1, _BAND_PIXELS // (self.right - self.left))
        for top in range(self.top, self.bottom, rows):
            yield Rectangle(self.left, top, self.right, min(top + rows, self.bottom))

    def cut(self, raster: Raster) -> Raster:
        if (self.left, self.top, self.right, self.bottom) == (0, 0, *size_of(raster)):
            return raster
        if isinstance(raster, np.ndarray):
            return raster[self.top : self.bottom, self.left : self.right]
        return raster.crop((self.left, self.top, self.right, self.bottom))


def resample_to(
    raster: Raster, width: int, height: int, resample: Resample, part: Part | None = None
) -> Pixels:
    """``part`` of a raster (all of it unless given) as uint8 [``height``, ``width``, 3], its own memory."""
    size = size_of(raster)
    part = Part(0, 0, *size) if part is None else part.inside(size)
    needed = part.needed(size, width, height, resample)
    if fast_library() is None:
        return _by_pillow(needed.cut(raster), part.within(needed), width, height, resample)
    return _fast(raster, needed, part.within(needed), width, height, resample)


def fast_library() -> Any:
    """``cykooz_resizer``, or None: it is built for the usual processors and systems only."""
    try:
        import cykooz_resizer
    except ImportError:
        return None
    return cykooz_resizer


def _by_pillow(raster: Raster, part: Part, width: int, height: int, resample: Resample) -> Pixels:
    from PIL.Image import Resampling

    kernel, image = Resampling[resample.upper()], as_image(raster)
    across = image.resize((width, image.height), kernel, box=(part.left, 0, part.right, image.height))
    return np.array(across.resize((width, height), kernel, box=(0, part.top, width, part.bottom)))


def _fast(
    raster: Raster, needed: Rectangle, part: Part, width: int, height: int, resample: Resample
) -> Pixels:
    from cykooz_resizer import ImageData, Resizer

    resizer = Resizer()
    narrow: list[ImageData] = []
    for band in needed.bands():
        pixels = _handed_over(band.cut(raster))
        narrow.append(ImageData(width, band.bottom - band.top, _kind_of(raster)))
        resizer.resize(pixels, narrow[-1], _options(resample, part.left, 0, part.right, pixels.height))
    result = ImageData(width, height, _kind_of(raster))
    resizer.resize(_joined(narrow, raster), result, _options(resample, 0, part.top, width, part.bottom))
    channels = np.frombuffer(result.get_buffer(), np.uint8).reshape(height, width, -1)
    return channels[:, :, :3].copy()


def _kind_of(raster: Raster) -> Any:
    """Pillow's pixels have a fourth byte that nobody looks at; to leave it there is faster."""
    from cykooz_resizer import PixelType

    return PixelType.U8x3 if isinstance(raster, np.ndarray) and raster.shape[2] == 3 else PixelType.U8x4


def _handed_over(raster: Raster) -> ImageData:
    from cykooz_resizer import ImageData

    if not isinstance(raster, np.ndarray):
        data = raster.tobytes("raw", "RGBX")
    elif raster.shape[2] == 4:
        data = raster.view(np.uint32).tobytes()  # whole pixels at a time
    else:
        data = raster.tobytes()
    return ImageData(*size_of(raster), _kind_of(raster), data)


def _joined(bands: list[ImageData], raster: Raster) -> ImageData:
    """One below the other."""
    from cykooz_resizer import ImageData

    if len(bands) == 1:
        return bands[0]
    height = sum(band.height for band in bands)
    return ImageData(bands[0].width, height, _kind_of(raster), b"".join(band.get_buffer() for band in bands))


def _options(resample: Resample, left: float, top: float, right: float, bottom: float) -> ResizeOptions:
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions

    kernel = ResizeAlg.convolution(FilterType[_FAST_NAMES[resample]])
    return ResizeOptions(kernel, use_alpha=False, crop_box=CropBox(left, top, right - left, bottom - top))
