"""Pixels in, fewer (or more) pixels out. Everything is PIL's antialiased resampling, as the models expect."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


def resize(pixels: Pixels, width: int, height: int, resample: Resample = "bicubic") -> Pixels:
    """``pixels`` [h, w, 3] at exactly ``height`` × ``width``, resampled as ``PIL.Image.resize`` does."""
    if pixels.shape[:2] == (height, width):
        return pixels
    from PIL.Image import Resampling

    image = _as_image(pixels).resize((width, height), Resampling[resample.upper()])
    return np.asarray(image)


def resize_short_side(pixels: Pixels, short_side: int, resample: Resample = "bicubic") -> Pixels:
    """The shorter side becomes ``short_side``, the longer one ``int(short_side * long / short)``.

    Truncation, not rounding, is what the reference preprocessing of CLIP does.
    """
    height, width = pixels.shape[:2]
    if width <= height:
        return resize(pixels, short_side, int(short_side * height / width), resample)
    return resize(pixels, int(short_side * width / height), short_side, resample)


def center_crop(pixels: Pixels, size: int) -> Pixels:
    """The middle ``size`` × ``size`` pixels; black is added around a side that is shorter than that.

    The offset is ``int(round((side - size) / 2.0))``, torchvision's rule (halves go to the even number).
    """
    height, width = pixels.shape[:2]
    left, top = _center_offset(width, size), _center_offset(height, size)
    return cut(pixels, left, top, left + size, top + size)


def cut(pixels: Pixels, x_min: int, y_min: int, x_max: int, y_max: int) -> Pixels:
    """The rectangle as ``PIL.Image.crop`` cuts it: what lies outside ``pixels`` is black.

    A view without a copy when all of it lies inside. Corners must be in order.
    """
    height, width = pixels.shape[:2]
    if min(x_min, y_min) >= 0 and x_max <= width and y_max <= height:
        return pixels[y_min:y_max, x_min:x_max]
    result = np.zeros((y_max - y_min, x_max - x_min, 3), np.uint8)
    left, top = max(x_min, 0), max(y_min, 0)
    right, bottom = min(x_max, width), min(y_max, height)
    if left < right and top < bottom:
        result[top - y_min : bottom - y_min, left - x_min : right - x_min] = pixels[top:bottom, left:right]
    return result


def encode_png(pixels: Pixels) -> bytes:
    """``pixels`` [h, w, 3] as a PNG file, without any metadata."""
    from PIL import PngImagePlugin

    buffer = io.BytesIO()
    _as_image(pixels).save(buffer, PngImagePlugin.PngImageFile.format)
    return buffer.getvalue()


def _center_offset(side: int, size: int) -> int:
    if side < size:
        return -((size - side) // 2)
    return int(round((side - size) / 2.0))  # noqa: RUF046  the rule as it is written everywhere


def _as_image(pixels: Pixels) -> Image:
    from PIL.Image import fromarray

    return fromarray(np.ascontiguousarray(pixels))
