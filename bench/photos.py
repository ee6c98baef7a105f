"""Photographs to send: scikit-image's astronaut, coffee and cat, as JPEG in the sizes of phones and feeds."""

from __future__ import annotations

import io

import numpy as np
import skimage.data
from PIL import Image

# Standard deviation in levels of 255: makes 12 megapixels at quality 90 about 4 MB, as phones write them.
GRAIN = 6.0


def jpegs(width: int, height: int, count: int = 8, quality: int = 90) -> list[bytes]:
    """``count`` different photographs of one size: crops of real pictures, with the grain of a sensor.

    Without the grain an enlarged picture compresses, and decodes, far better than a camera's.
    """
    originals = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    return [_jpeg(Image.fromarray(originals[n % 3]), width, height, n, quality) for n in range(count)]


def _jpeg(picture: Image.Image, width: int, height: int, number: int, quality: int) -> bytes:
    margin = 4 * number
    box = (margin, margin, picture.width - margin, picture.height - margin)
    enlarged = np.asarray(picture.crop(box).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(number).normal(0, GRAIN, enlarged.shape).astype(np.float32)
    pixels = np.clip(enlarged + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
