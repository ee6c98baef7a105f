"""Bytes to upright RGB pixels: pure functions of bytes, so that they can move into a process of their own.

Decoder classes are opened directly, never through ``PIL.Image.open``: only the one that fits the content is
imported and tried, and Pillow's process-wide registry of formats stays as the host program left it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from sightline.errors import ImageError, InvalidImage, UnsupportedImage
from sightline.imaging import bitmaps, colour_key, tiff
from sightline.imaging.colours import on_white, to_rgb
from sightline.imaging.formats import Format
from sightline.imaging.headers import ESSENTIALS, FILLERS, READERS, Header, bmp, png
from sightline.imaging.headers import tiff as tiff_header
from sightline.imaging.headers.header import Truncated, truncated
from sightline.imaging.headers.isobmff import clean_aperture, without_metadata
from sightline.imaging.raster import Pixels, Raster, as_pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

DECODERS = {
    Format.JPEG: ("PIL.JpegImagePlugin", "JpegImageFile"),
    Format.PNG: ("PIL.PngImagePlugin", "PngImageFile"),
    Format.WEBP: ("PIL.WebPImagePlugin", "WebPImageFile"),
    Format.GIF: ("PIL.GifImagePlugin", "GifImageFile"),
    Format.BMP: ("PIL.BmpImagePlugin", "BmpImageFile"),
    Format.AVIF: ("PIL.AvifImagePlugin", "AvifImageFile"),
    Format.HEIF: ("pillow_heif", "HeifImageFile"),
}
_BOXES = frozenset({Format.AVIF, Format.HEIF})
# Formats whose headers are read by the libraries that decode them; the others are read in Python.
READ_BY_LIBRARIES = _BOXES
# Their file objects let go of all but the pixels once loaded. A decoder of WebP or AVIF would stay, and hold
# several times as much.
_KEEP_PIXELS_ONLY = frozenset({Format.JPEG, Format.PNG})
# Pillow reads a file in pieces of 64 KiB; larger ones mean fewer turns with the interpreter lock.
_READ_BYTES = 4 * 1024 * 1024

_ORIENTATION_TAG = 0x0112
# How decoders say that they know what they see and do not read it.
_UNSUPPORTED = ("unsupported", "not supported", "unimplemented", "not implemented", "unknown pixel mode")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels, upright, in mode RGB; ``is_filled`` if the end of a truncated file was made up."""

    image: Image
    is_filled: bool = False


def read_header(data: bytes, image_format: Format, page: int = 0) -> Header:
    """Stored size and orientation. No pixel is decoded.

    Args:
        page: of a TIFF, from 0.

    Raises:
        InvalidImage, UnsupportedImage: the header is damaged, or of a variant that is not decoded.
    """
    if image_format == Format.TIFF:
        return tiff_header.read(data, page)
    reader = READERS.get(image_format)
    if reader is not None:
        return reader(data)
    try:
        return _read_boxes(data, image_format)
    except Exception as error:
        raise _explain(error, image_format) from error


def decode(
    data: bytes,
    image_format: Format,
    orientation: int,
    reduction: int = 1,
    *,
    page: int = 0,
    fill: bool = False,
) -> Decoded:
    """The first (or only) picture in ``data``.

    Args:
        orientation: EXIF orientation, 1 to 8, as :func:`read_header` gave it.
        reduction: 1, 2, 4 or 8: JPEG is decoded at ``ceil(side / reduction)``; other formats ignore it.
        page: of a TIFF, from 0.
        fill: decode what there is of a truncated JPEG, PNG or BMP. The rest is what Pillow leaves there with
            ``LOAD_TRUNCATED_IMAGES``: grey in a JPEG, black elsewhere.

    Raises:
        InvalidImage: truncated, corrupt, or of another size than its header says.
        UnsupportedImage: a variant of the format that is not decoded.
    """
    try:
        header = read_header(data, image_format, page)
        _permit(header.width * header.height)
        try:
            image = _decoded(data, image_format, header, reduction, page)
            is_filled = False
        except Exception as error:
            filler = FILLERS.get(image_format)
            if not fill or filler is None or not isinstance(_explain(error, image_format), Truncated):
                raise
            image = _decoded(filler(data), image_format, header, reduction, page)
            is_filled = True
        upright = _turn(image, orientation)
    except ImageError:
        raise
    except Exception as error:
        # Decoders raise what they like: OSError, SyntaxError, ValueError, EOFError, struct.error, ...
        raise _explain(error, image_format) from error
    return Decoded(upright, is_filled)


def pixels_of(raster: Raster, image_format: Format) -> Pixels:
    """Return the decoded pixels as uint8 [height, width, 3], read-only.

    Raises:
        InvalidImage: there is no memory for it.
    """
    try:
        pixels = as_pixels(raster)
    except Exception as error:
        raise _explain(error, image_format) from error
    pixels.flags.writeable = False
    return pixels


def _decoded(data: bytes, image_format: Format, header: Header, reduction: int, page: int) -> Image:
    """The picture as stored, in mode RGB, loaded."""
    if image_format == Format.TIFF:
        return _decoded_tiff(data, header, page)
    essentials = ESSENTIALS.get(image_format)
    kept = data if essentials is None else essentials(data)
    masks = bmp.masks(kept) if image_format == Format.BMP else None
    if masks is not None:
        return to_rgb(bitmaps.decode(kept, masks, header.width, header.height))
    image = _open(kept, image_format)
    placed = header.placement
    _require_size(image, (header.width, header.height) if placed is None else (placed.width, placed.height))
    if image_format == Format.JPEG and reduction > 1:
        image.draft(None, _reduced_size(header, reduction))
    image.decodermaxblock = _READ_BYTES
    size = image.size
    image.load()
    _require_size(image, size)
    key = png.colour_key(kept) if image_format == Format.PNG else None
    if key is not None:
        return colour_key.over_white(image, key, lambda: _open(kept, image_format))
    if placed is not None:
        return on_white(image, (header.width, header.height), placed)
    rgb = to_rgb(image)
    return rgb.copy() if rgb is image and image_format not in _KEEP_PIXELS_ONLY else rgb


def _decoded_tiff(data: bytes, header: Header, page: int) -> Image:
    stream = tiff.old_jpeg(data, page)
    if stream is None:
        image = tiff.decode(data, page)
    else:
        image = _decoded(stream, Format.JPEG, read_header(stream, Format.JPEG), reduction=1, page=0)
    _require_size(image, (header.width, header.height))
    return image


def _read_boxes(data: bytes, image_format: Format) -> Header:
    image = _open(data, image_format)
    if image_format == Format.HEIF:  # libheif applies all that the boxes say, and turns the picture upright
        return Header(*image.size)
    orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
    orientation = orientation if 1 <= orientation <= 8 else 1
    found = clean_aperture(data)
    if found is None or image.size != (found[1].width, found[1].height):
        return Header(*image.size, orientation)
    return Header(*found[0], orientation, found[1])


def _open(data: bytes, image_format: Format) -> ImageFile:
    try:
        return _opened(data, image_format)
    except Exception:
        # libavif and libheif refuse a file whose EXIF is malformed.
        plain = without_metadata(data) if image_format in _BOXES else data
        if plain == data:
            raise
        return _opened(plain, image_format)


def _opened(data: bytes, image_format: Format) -> ImageFile:
    module, name = DECODERS[image_format]
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


def _explain(error: Exception, image_format: Format) -> ImageError:
    if isinstance(error, ImageError):
        return error
    name = image_format.upper()
    said = str(error).lower()
    if isinstance(error, MemoryError):
        return InvalidImage(f"The {name} image needs more memory to decode than there is.")
    if isinstance(error, EOFError) or "truncated" in said:
        return truncated(name)
    if any(word in said for word in _UNSUPPORTED):
        return UnsupportedImage(f"This kind of {name} image is not decoded; send it as JPEG or PNG.")
    return InvalidImage(f"The {name} image is damaged and cannot be decoded.")
