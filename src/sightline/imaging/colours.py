"""Every colour mode a decoder may hand out, as 8-bit RGB. Embedded colour profiles are ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.imaging.levels import levels

if TYPE_CHECKING:
    from PIL.Image import Image

    from sightline.imaging.headers.header import Placement

_WHITE = (255, 255, 255)


def to_rgb(image: Image) -> Image:
    """``image``, loaded, in mode RGB.

    Transparency is laid over white. CMYK is converted without a profile, as Pillow does: in a JPEG 0
    is full ink, with or without Adobe's marker; in a TIFF 0 is no ink. More than 8 bits are scaled, never
    clipped: see :func:`~sightline.imaging.levels.levels`.

    Raises:
        ValueError: Pillow knows no way from the mode to RGB.
    """
    from PIL.Image import fromarray

    if image.mode.startswith("I") or image.mode == "F":
        numbers = np.asarray(image)
        return fromarray(levels([numbers], 8 * numbers.dtype.itemsize)[0]).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def on_white(image: Image, size: tuple[int, int], placement: Placement) -> Image:
    """``image``, in any mode, as RGB at its place on a white picture of ``size``; what is outside is cut."""
    from PIL.Image import new

    canvas = new("RGB", size, _WHITE)
    canvas.paste(to_rgb(image), (placement.left, placement.top))
    return canvas


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
