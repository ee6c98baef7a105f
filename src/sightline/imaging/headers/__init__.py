"""Headers of image files, read without decoding a pixel, in bounded time and memory.

Each module knows one container. ``read`` gives size and orientation; ``essentials`` gives what a decoder
needs to see, so that metadata parsers never meet untrusted bytes. Containers of AVIF and HEIF are read by
their decoding libraries; ``isobmff`` knows what those leave out. TIFF has pages and is read by page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sightline.imaging.formats import Format
from sightline.imaging.headers import bmp, gif, isobmff, jpeg, png, webp
from sightline.imaging.headers.header import Header, Placement

__all__ = ["ESSENTIALS", "EXIF_BLOCKS", "READERS", "Header", "Placement"]

READERS = {
    Format.JPEG: jpeg.read,
    Format.PNG: png.read,
    Format.GIF: gif.read,
    Format.BMP: bmp.read,
    Format.WEBP: webp.read,
}
# Make a truncated file whole, so that a decoder returns what there is of it.
FILLERS = {
    Format.JPEG: jpeg.filled,
    Format.PNG: png.filled,
    Format.BMP: bmp.filled,
}
ESSENTIALS = {
    Format.JPEG: jpeg.essentials,
    Format.PNG: png.essentials,
    Format.GIF: gif.essentials,
    Format.WEBP: webp.essentials,
}
# Other formats have none. A TIFF is one itself.
EXIF_BLOCKS: Mapping[Format, Callable[[bytes], bytes]] = {
    Format.JPEG: jpeg.exif,
    Format.PNG: png.exif,
    Format.WEBP: webp.exif,
    Format.AVIF: isobmff.exif_item,
    Format.HEIF: isobmff.exif_item,
    Format.TIFF: bytes,
}
