"""Bytes to upright RGB pixels: a pure function, so that it can move into a process of its own."""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import ImageError, InvalidImage
from sightline.imaging.formats import Format
from sightline.imaging.resizing import Pixels

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_PLUGINS = {
    Format.JPEG: ("PIL.JpegImagePlugin", "JpegImageFile"),
    Format.PNG: ("PIL.PngImagePlugin", "PngImageFile"),
    Format.WEBP: ("PIL.WebPImagePlugin", "WebPImageFile"),
    Format.GIF: ("PIL.GifImagePlugin", "GifImageFile"),
    Format.BMP: ("PIL.BmpImagePlugin", "BmpImageFile"),
    Format.TIFF: ("PIL.TiffImagePlugin", "TiffImageFile"),
    Format.AVIF: ("PIL.AvifImagePlugin", "AvifImageFile"),
    Format.HEIF: ("pillow_heif", "HeifImageFile"),
}


def _open(data: bytes, image_format: Format) -> ImageFile:
    module, name = _PLUGINS[image_format]
    image: ImageFile = getattr(import_module(module), name)(io.BytesIO(data))
    return image


def measure(data: bytes, image_format: Format) -> tuple[int, int, int]:
    try:
        image = _open(data, image_format)
        orientation = 1
        if image_format != Format.HEIF and image.info.get("exif"):
            orientation = image.getexif().get(0x0112, 1)
        return (*image.size, orientation)
    except Exception as error:
        raise InvalidImage(f"The {image_format.upper()} image has a damaged header.") from error


_TRANSPOSE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def decode(data: bytes, image_format: Format, orientation: int, reduction: int = 1) -> Pixels:
    try:
        image = _open(data, image_format)
        if reduction > 1:
            image.draft("RGB", (image.width // reduction, image.height // reduction))
        rgb = image.convert("RGB")
        if orientation in _TRANSPOSE:
            from PIL.Image import Transpose

            rgb = rgb.transpose(Transpose(_TRANSPOSE[orientation]))
        return np.asarray(rgb)
    except ImageError:
        raise
    except Exception as error:
        raise InvalidImage(f"The {image_format.upper()} image is damaged.") from error
