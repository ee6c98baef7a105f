"""Sizes that the networks, their ONNX files and the cascade agree on.

The networks are compiled for one fixed input each. That is worth 2 to 8 times the speed of free shapes, and
it makes results independent of how work is batched.
"""

from __future__ import annotations

from typing import Final

from sightline.networks.mtcnn import (
    CANVAS,
    CANVAS_CHANNELS,
    GRID,
    OUTPUT_BATCH,
    OUTPUT_SIZE,
    REFINE_BATCH,
    REFINE_SIZE,
)

__all__ = [
    "CANVAS", "CANVAS_CHANNELS", "CELL", "GRID", "MARGIN", "OUTPUT_BATCH", "OUTPUT_SIZE",
    "PIXEL_SCALE", "PIXEL_SHIFT", "REFINE_BATCH", "REFINE_SIZE", "STRIDE",
]  # fmt: skip

# The proposal network looks at 12×12 windows, one every 2 pixels: three 3×3 convolutions around a 2×2 pool.
STRIDE: Final = 2
CELL: Final = 12
MARGIN: Final = 10

# Pixels reach every network as (value - 127.5) / 128.
PIXEL_SCALE: Final = 0.0078125
PIXEL_SHIFT: Final = -127.5 * 0.0078125
