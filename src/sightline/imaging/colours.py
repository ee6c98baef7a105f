"""Every colour mode a decoder may hand out, as 8-bit RGB. Embedded colour profiles are ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

_WHITE = (255, 255, 255)


def to_rgb(image: Image) -> Image:
    """``image``, loaded, in mode RGB.

    Transparency is laid over white. CMYK is converted without a profile, as Pillow does. More than 8 bits
    are scaled, never clipped: 16-bit by 1/257 and rounded; 32-bit integers and floats by the narrowest of
    the ranges 0-1 (floats only), 0-255 and 0-65535 that holds all values, or else by their own range.

    Raises:
        ValueError: Pillow knows no way from the mode to RGB.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _scale(np.asarray(image)).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image) -> Image:
    from PIL.Image import new

    if image.mode == "La":  # Pillow converts premultiplied grey to nothing else
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB")
    canvas = new("RGB", rgba.size, _WHITE)
    canvas.paste(rgba, mask=alpha)
    return canvas


def _scale(values: NDArray[Any]) -> Image:
    from PIL.Image import fromarray

    if values.dtype.itemsize == 2:
        wide = values.astype(np.uint32)
        return fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    ranges = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((r for r in ranges if low >= 0 and high <= r), None)
    if top is None:
        numbers, top = numbers - low, max(high - low, 1e-300)
    return fromarray(np.rint(numbers / top * 255).astype(np.uint8))
