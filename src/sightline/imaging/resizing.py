"""Pixels in, fewer (or more) pixels out: Pillow's antialiased resampling, as the models expect it."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np

from sightline.imaging.raster import Pixels, Raster, as_image, as_pixels, size_of
from sightline.imaging.resampling import Part, Resample, resample_to

Halves = Literal["even", "down"]

# Longer side over shorter from which on a picture counts as a strip.
_LONG = 64


def resize(raster: Raster, width: int, height: int, resample: Resample = "bicubic") -> Pixels:
    """uint8 [``height``, ``width``, 3], resampled by ``PIL.Image.resize``."""
    if size_of(raster) == (width, height):
        return as_pixels(raster)
    from PIL.Image import Resampling

    return np.asarray(as_image(raster).resize((width, height), Resampling[resample.upper()]))


def resize_short_side(raster: Raster, short_side: int, resample: Resample = "bicubic") -> Pixels:
    """The shorter side becomes ``short_side``, the longer one ``int(short_side * long / short)``.

    Truncation, not rounding, is what the reference preprocessing of CLIP does.
    """
    return resize(raster, *_with_short_side(*size_of(raster), short_side), resample)


def center_crop(pixels: Pixels, size: int, halves: Halves = "even") -> Pixels:
    """The middle ``size`` × ``size`` pixels; black is added around a side that is shorter than that.

    The offset is half of ``side - size``. A half pixel goes to the even number, as in torchvision
    (``int(round((side - size) / 2.0))``), or down, as in transformers.
    """
    height, width = pixels.shape[:2]
    left, top = _center_offset(width, size, halves), _center_offset(height, size, halves)
    return cut(pixels, left, top, left + size, top + size)


def middle_square(
    raster: Raster,
    short_side: int,
    size: int,
    resample: Resample = "bicubic",
    halves: Halves = "even",
    *,
    exact: bool = False,
) -> Pixels:
    """:func:`resize_short_side`, then :func:`center_crop`: uint8 ``[size, size, 3]`` in memory of its own.

    ``size`` is at most ``short_side``. Only the part that is kept is resized, on vector instructions, and one
    value in 250 is a level off (see ``imaging.resampling``); ``exact``: none is. A picture more than 64 times
    as long as wide is never resized whole: of a 30,000 × 1 strip that would take gigabytes.
    """
    width, height = size_of(raster)
    if exact and max(height, width) <= _LONG * min(height, width):
        return center_crop(resize_short_side(raster, short_side, resample), size, halves).copy()
    new_width, new_height = _with_short_side(width, height, short_side)
    left, top = _center_offset(new_width, size, halves), _center_offset(new_height, size, halves)
    across, down = width / new_width, height / new_height
    part = Part(left * across, top * down, (left + size) * across, (top + size) * down)
    return resample_to(raster, size, size, resample, part)


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
    as_image(pixels).save(buffer, PngImagePlugin.PngImageFile.format)
    return buffer.getvalue()


def fit_within(pixels: Pixels, max_side: int, resample: Resample = "lanczos") -> Pixels:
    """``pixels`` [h, w, 3] with the longer side at ``max_side`` at most; never enlarged, at least 1 × 1."""
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    return resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)), resample)


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """``pixels`` [h, w, 3] as a JPEG file, without any metadata."""
    from PIL import JpegImagePlugin

    buffer = io.BytesIO()
    as_image(pixels).save(buffer, JpegImagePlugin.JpegImageFile.format, quality=quality)
    return buffer.getvalue()


def jpeg_round_trip(pixels: Pixels, quality: int) -> Pixels:
    """``pixels`` [h, w, 3] written as JPEG and read again, for networks that were fitted to its artefacts."""
    from PIL import JpegImagePlugin

    return np.asarray(JpegImagePlugin.JpegImageFile(io.BytesIO(encode_jpeg(pixels, quality))))


def _with_short_side(width: int, height: int, short_side: int) -> tuple[int, int]:
    if width <= height:
        return short_side, int(short_side * height / width)
    return int(short_side * width / height), short_side


def _center_offset(side: int, size: int, halves: Halves) -> int:
    if side < size:
        return -((size - side) // 2)
    if halves == "down":
        return (side - size) // 2
    return int(round((side - size) / 2.0))  # noqa: RUF046  the rule as it is written everywhere
