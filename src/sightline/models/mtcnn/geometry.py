"""Sizes that the networks, their ONNX files and the cascade agree on.

The networks are compiled for one fixed input each. That is worth 2 to 8 times the speed of free shapes, and
it makes results independent of how work is batched.
"""

from __future__ import annotations

from typing import Final

# The proposal network looks at 12×12 windows, one every 2 pixels: three 3×3 convolutions around a 2×2 pool.
STRIDE: Final = 2
CELL: Final = 12
MARGIN: Final = 10

# Side of the square canvas that pieces of the pyramid are packed on, and of its grid of answers.
CANVAS: Final = 202
GRID: Final = (CANVAS - MARGIN) // STRIDE

# Red, green, blue, and 1 where a pixel is past the edge of a pyramid level.
CANVAS_CHANNELS: Final = 4

# Crop side and crops per run of the refining and the output network. Small batches waste less on padding.
REFINE_SIZE: Final = 24
REFINE_BATCH: Final = 32
OUTPUT_SIZE: Final = 48
OUTPUT_BATCH: Final = 8

# Pixels reach every network as (value - 127.5) / 128.
PIXEL_SCALE: Final = 0.0078125
PIXEL_SHIFT: Final = -127.5 * 0.0078125
