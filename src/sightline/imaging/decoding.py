"""Bytes to upright RGB pixels: pure functions of bytes, so that they can move into a process of their own.

Decoder classes are opened directly, never through ``PIL.Image.open``: only the one that fits the content is
imported and tried, and Pillow's process-wide registry of formats stays as the host program left it.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import ImageError, InvalidImage
from sightline.imaging.colours import to_rgb
from sightline.imaging.formats import Format
from sightline.imaging.headers import ESSENTIALS, READERS, Header
from sightline.imaging.raster import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_DECODERS = {
    Format.JPEG: ("PIL.JpegImagePlugin", "JpegImageFile"),
    Format.PNG: ("PIL.PngImagePlugin", "PngImageFile"),
    Format.WEBP: ("PIL.WebPImagePlugin", "WebPImageFile"),
    Format.GIF: ("PIL.GifImagePlugin", "GifImageFile"),
    Format.BMP: ("PIL.BmpImagePlugin", "BmpImageFile"),
    Format.TIFF: ("PIL.TiffImagePlugin", "TiffImageFile"),
    Format.AVIF: ("PIL.AvifImagePlugin", "AvifImageFile"),
    Format.HEIF: ("pillow_heif", "HeifImageFile"),
}
# Their decoders turn the picture upright themselves: libheif by its irot and imir properties, Pillow's TIFF
# plug-in by the orientation tag.
_UPRIGHT_WHEN_LOADED = frozenset({Format.HEIF, Format.TIFF})
# Their file objects let go of all but the pixels once loaded. A decoder of WebP or AVIF would stay, and hold
# several times as much.
_KEEP_PIXELS_ONLY = frozenset({Format.JPEG, Format.PNG})
# Pillow reads a file in pieces of 64 KiB; larger ones mean fewer turns with the interpreter lock.
_READ_BYTES = 4 * 1024 * 1024

_ORIENTATION_TAG = 0x0112


def read_header(data: bytes, image_format: Format) -> Header:
    """Stored size and orientation. No pixel is decoded.

    Raises:
        InvalidImage, UnsupportedImage: the header is damaged, or of a variant that is not decoded.
    """
    reader = READERS.get(image_format)
    if reader is not None:
        return reader(data)
    try:
        image = _open(data, image_format)
        if image_format in _UPRIGHT_WHEN_LOADED:
            return Header(*image.size)
        orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception as error:
        raise _explain(error, image_format) from error
    return Header(*image.size, orientation if 1 <= orientation <= 8 else 1)


def decode(data: bytes, image_format: Format, orientation: int, reduction: int = 1) -> Image:
    """The first (or only) picture in ``data``, upright, loaded, in mode RGB.

    Args:
        orientation: EXIF orientation, 1 to 8, as :func:`read_header` gave it.
        reduction: 1, 2, 4 or 8: JPEG is decoded at ``ceil(side / reduction)``; other formats ignore it.

    Raises:
        InvalidImage: truncated, corrupt, or of another size than its header says.
        UnsupportedImage: a variant of the format that is not decoded.
    """
    header = read_header(data, image_format)
    turned = image_format in _UPRIGHT_WHEN_LOADED
    try:
        _permit(header.width * header.height)
        essentials = ESSENTIALS.get(image_format)
        image = _open(data if essentials is None else essentials(data), image_format)
        _require_size(image, header.upright_size if turned else (header.width, header.height))
        if image_format == Format.JPEG and reduction > 1:
            image.draft(None, _reduced_size(header, reduction))
        image.decodermaxblock = _READ_BYTES
        size = image.size
        image.load()
        _require_size(image, size)
        rgb = to_rgb(_without_blank_alpha(image) if image_format == Format.BMP else image)
        upright = rgb if turned else _turn(rgb, orientation)
        return upright.copy() if upright is image and image_format not in _KEEP_PIXELS_ONLY else upright
    except ImageError:
        raise
    except Exception as error:
        # Decoders raise what they like: OSError, SyntaxError, ValueError, EOFError, struct.error, ...
        raise _explain(error, image_format) from error


def pixels_of(image: Image, image_format: Format) -> Pixels:
    """What :func:`decode` gave as uint8 [height, width, 3], read-only.

    Raises:
        InvalidImage: there is no memory for it.
    """
    try:
        pixels = np.asarray(image)
    except Exception as error:
        raise _explain(error, image_format) from error
    pixels.flags.writeable = False
    return pixels


def _open(data: bytes, image_format: Format) -> ImageFile:
    module, name = _DECODERS[image_format]
    image: ImageFile = getattr(import_module(module), name)(io.BytesIO(data))
    return image


def _require_size(image: Image, size: tuple[int, int]) -> None:
    if image.size != size:
        raise InvalidImage("The image holds pixels of another size than its header says.")


def _permit(num_pixels: int) -> None:
    """Let Pillow decode what our own limits have let through, if they are wider than Pillow's."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and num_pixels > limit:
        Image.MAX_IMAGE_PIXELS = num_pixels


def _reduced_size(header: Header, reduction: int) -> tuple[int, int]:
    return max(header.width // reduction, 1), max(header.height // reduction, 1)


def _without_blank_alpha(image: Image) -> Image:
    """Many programs write 32-bit bitmaps with an alpha of 0 everywhere and mean opaque."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


def _turn(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _explain(error: Exception, image_format: Format) -> InvalidImage:
    name = image_format.upper()
    if isinstance(error, MemoryError):
        return InvalidImage(f"The {name} image needs more memory to decode than there is.")
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return InvalidImage(f"The {name} image is truncated; send the whole file.")
    return InvalidImage(f"The {name} image is damaged and cannot be decoded.")
