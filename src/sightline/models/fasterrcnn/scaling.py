"""A photo as the network wants it: scaled, normalised, its sides filled up to multiples of 32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging import View

# ``GeneralizedRCNNTransform`` of torchvision: the shorter side becomes 800 pixels, or less if the longer
# one would pass 1333; mean and deviation are ImageNet's.
SHORT_SIDE: Final = 800
LONG_SIDE: Final = 1333
STEP: Final = 32
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Scaled:
    """``image`` f32 ``[1, 3, H, W]``, of which the photo fills ``height`` × ``width`` from the top left.

    ``full_height`` × ``full_width`` is the photo before scaling.
    """

    image: Floats
    height: int
    width: int
    full_height: int
    full_width: int


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """Height and width after scaling, at least 1 each: the reference fails where a side would vanish.

    In doubles and cut, not rounded, as the reference does it: 600 × 800 ÷ 600 may come to 799.
    """
    scale = min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width))
    return max(int(height * scale), 1), max(int(width * scale), 1)


def scale(subject: View) -> Scaled:
    """Raises like :meth:`sightline.imaging.View.pixels`."""
    pixels = subject.pixels()
    full_height, full_width = pixels.shape[:2]
    height, width = scaled_size(full_height, full_width)
    image = np.zeros((1, 3, -(-height // STEP) * STEP, -(-width // STEP) * STEP), np.float32)
    resize_normalised(pixels, image[0, :, :height, :width])
    return Scaled(image, height, width, full_height, full_width)


def resize_normalised(pixels: Pixels, out: Floats) -> None:
    """Fill ``out`` f32 ``[3, H, W]`` with ``(pixels / 255 - mean) / deviation``, resampled bilinearly.

    Centres of pixels are aligned and nothing is smoothed before shrinking:
    ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)``.
    """
    top, bottom, row_share = _taps(pixels.shape[0], out.shape[1])
    left, right, column_share = _taps(pixels.shape[1], out.shape[2])
    # A large photo has rows that nobody reads.
    rows, places = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    top, bottom = places[: len(top)], places[len(top) :]
    if len(rows) < pixels.shape[0]:
        pixels = pixels[rows]
    for channel, (mean, deviation) in enumerate(zip(MEAN, STD, strict=True)):
        plane = pixels[:, :, channel].astype(np.float32)
        plane *= np.float32(1 / (255 * deviation))
        plane -= np.float32(mean / deviation)
        across = _mixed(plane.take(left, axis=1), plane.take(right, axis=1), column_share)
        out[channel] = _mixed(across.take(top, axis=0), across.take(bottom, axis=0), row_share[:, None])


def _taps(size: int, wanted: int) -> tuple[Ints, Ints, Floats]:
    """For each of ``wanted`` places along a side, the two pixels around it and the second one's share."""
    step = np.float32(size) / np.float32(wanted)
    half = np.float32(0.5)
    at = np.maximum(step * (np.arange(wanted, dtype=np.float32) + half) - half, np.float32(0))
    first = np.minimum(at.astype(np.intp), size - 1)
    return first, np.minimum(first + 1, size - 1), np.minimum(at - first, 1).astype(np.float32)


def _mixed(first: Floats, second: Floats, share: Floats) -> Floats:
    """Overwrites its arguments: these are megabytes."""
    second -= first
    second *= share
    second += first
    return second
