"""A hash of what a picture looks like: copies of other size, format or quality have nearly the same one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.imaging.picture import View
from sightline.imaging.resizing import resize

# The usual pHash: the lowest 8 × 8 frequencies of 32 × 32 grey levels (Zauner 2010, section 3.2.1).
_SIDE, _FREQUENCIES = 32, 8
# Decoded at the size that embedders ask for, so that a photo is decoded once for both.
_DECODED_SHORT_SIDE = 224
# ITU-R BT.601, as Pillow turns colours into grey.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def perceptual_hash(view: View) -> int:
    """Return 64 bits. Few of them differ between pictures that look alike: see :func:`differing_bits`.

    Raises:
        InvalidImage, UnsupportedImage, DecodingEnded: the picture cannot be decoded.
    """
    small = np.asarray(resize(view.raster(_DECODED_SHORT_SIDE), _SIDE, _SIDE, "bilinear"), np.float32)
    spectrum = _COSINES @ (small[..., :3] @ _GREY) @ _COSINES.T
    bits = spectrum > np.median(spectrum)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def differing_bits(hashes: NDArray[np.uint64], other: np.uint64) -> NDArray[np.uint8]:
    """Return in how many bits each of ``hashes`` [n] differs from another, 0 to 64."""
    differing: NDArray[np.uint8] = np.bitwise_count(hashes ^ other)
    return differing


def _cosines() -> NDArray[np.float32]:
    """The lowest rows of the discrete cosine transform (type II) of ``_SIDE`` numbers."""
    rows, columns = np.arange(_FREQUENCIES)[:, None], np.arange(_SIDE)[None]
    return np.cos(np.pi * rows * (2 * columns + 1) / (2 * _SIDE)).astype(np.float32)


_COSINES = _cosines()
