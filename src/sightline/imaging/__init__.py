"""Untrusted bytes in, pictures out. The only user of PIL.

:func:`open_picture` judges a file by its bytes and header and decodes nothing; :class:`Picture` decodes when
asked. Image libraries are imported at first use. Every failure is an :class:`sightline.errors.ImageError`.
"""

from sightline.imaging.capture import Capture, read_capture, read_position
from sightline.imaging.limits import ImageLimits
from sightline.imaging.linear import interpolate, resize_linear
from sightline.imaging.perceptual import differing_bits, perceptual_hash
from sightline.imaging.picture import Picture, View, count_pages, open_picture, picture_from_pixels
from sightline.imaging.resizing import (
    center_crop,
    encode_jpeg,
    encode_png,
    fit_within,
    jpeg_round_trip,
    middle_square,
    resize,
    resize_short_side,
)
from sightline.imaging.warping import warp_quad

__all__ = [
    "Capture",
    "ImageLimits",
    "Picture",
    "View",
    "center_crop",
    "count_pages",
    "differing_bits",
    "encode_jpeg",
    "encode_png",
    "fit_within",
    "interpolate",
    "jpeg_round_trip",
    "middle_square",
    "open_picture",
    "perceptual_hash",
    "picture_from_pixels",
    "read_capture",
    "read_position",
    "resize",
    "resize_linear",
    "resize_short_side",
    "warp_quad",
]
