"""PNG in which one grey level or colour is transparent. Pillow compares it at another depth than it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.imaging.colours import to_rgb
from sightline.imaging.headers.png import ColourKey

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile


def over_white(image: Image, key: ColourKey, reopen: Callable[[], ImageFile]) -> Image:
    """Return ``image``, loaded, as RGB with white for what has the key's level or colour.

    Args:
        reopen: gives the same file again, not loaded yet.
    """
    from PIL.Image import fromarray

    is_transparent = _equals(image, key, reopen)
    image.info.pop("transparency", None)
    pixels = np.array(to_rgb(image))
    pixels[is_transparent] = 255
    return fromarray(pixels)


def _equals(image: Image, key: ColourKey, reopen: Callable[[], ImageFile]) -> NDArray[np.bool_]:
    if len(key.key) == 1 and key.bits <= 8:
        # Pillow has scaled the levels to 8 bits; no two fall together.
        level = key.key[0] * 255 // ((1 << key.bits) - 1)
        found: Any = np.asarray(image.convert("L")) == level
    elif len(key.key) == 1:
        found = np.asarray(image) == key.key[0]
    elif key.bits == 8:
        found = (np.asarray(image) == key.key).all(axis=2)
    else:
        high, low = np.asarray(image), np.asarray(_low_bytes(reopen()))
        found = (
            (high == [level >> 8 for level in key.key]) & (low == [level & 255 for level in key.key])
        ).all(2)
    return np.asarray(found, np.bool_)


def _low_bytes(image: ImageFile) -> Image:
    """The lower bytes of 16-bit RGB, of which Pillow otherwise gives the higher ones."""
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image
