"""Area-averaged pictures of any size out of one table, and the pyramid of them that a photo is searched in.

The reference shrinks pictures by adaptive average pooling: output ``i`` of ``n`` is the mean of the inputs
from ``floor(i·size/n)`` to ``ceil((i+1)·size/n)``. Any such mean is four reads of a table of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.models.mtcnn.geometry import CELL, GRID, MARGIN, PIXEL_SCALE, PIXEL_SHIFT, STRIDE

MIN_FACE: Final = 20
FACTOR: Final = 0.709

Ints = NDArray[np.intp]
Floats = NDArray[np.float32]

# Rows of the table computed at a time: few enough to stay in a core's cache.
_STRIP: Final = 16


def bin_edges(lengths: int | Ints, count: int) -> tuple[Ints, Ints]:
    """Starts and ends, ``[..., count]``, of ``count`` bins over each of ``lengths`` pixels.

    Bins overlap by a pixel where the lengths do not divide, and repeat pixels where there are too few.
    """
    first = np.arange(count, dtype=np.intp)
    size = np.asarray(lengths, dtype=np.intp)[..., None]
    return first * size // count, -(-(first + 1) * size // count)


class AreaSums:
    """Sums of a photo's pixels from its top left corner: uint32 ``[height + 1, 3, width + 1]``.

    Sums may wrap around; differences of them are right for rectangles below 8 million pixels all the same.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.height, self.width = pixels.shape[:2]
        table = np.empty((self.height + 1, 3, self.width + 1), np.uint32)
        table[0] = 0
        table[:, :, 0] = 0
        for top in range(0, self.height, _STRIP):
            strip = pixels[top : top + _STRIP].transpose(0, 2, 1).astype(np.uint32, order="C")
            rows = table[top + 1 : top + 1 + len(strip)]
            np.cumsum(strip, axis=2, out=rows[:, :, 1:])
            for row in range(top, top + len(strip)):
                np.add(table[row + 1], table[row], out=table[row + 1])
        self._table = table

    @staticmethod
    def num_bytes(pixels: NDArray[np.uint8]) -> int:
        """Return the memory of a photo's table."""
        return 12 * int(pixels.shape[0] + 1) * int(pixels.shape[1] + 1)

    def means(self, rows: tuple[Ints, Ints], columns: tuple[Ints, Ints], out: NDArray[Any]) -> None:
        """Write mean pixels of the bins ``rows × columns``, scaled for the networks, to f32 ``[3, r, c]``."""
        (top, bottom), (left, right) = rows, columns
        origin = int(left[0])
        table = self._table[:, :, origin : int(right[-1]) + 1]
        bands = table[bottom]
        bands -= table[top]
        sums = bands[:, :, right - origin]
        sums -= bands[:, :, left - origin]
        scale = np.outer(PIXEL_SCALE / (bottom - top), 1.0 / (right - left)).astype(np.float32)
        np.multiply(
            sums.view(np.int32).transpose(1, 0, 2), scale, out=out, casting="unsafe", dtype=np.float32
        )
        out += np.float32(PIXEL_SHIFT)

    def crops(self, boxes: Ints, size: int, out: Floats) -> None:
        """Write crops shrunk or stretched to f32 ``[n, 3, size, size]``, scaled for the networks.

        ``boxes`` is ``[n, 4]``: x_min, y_min, x_max, y_max in pixels, half-open, inside the photo, not empty.
        """
        left, right = bin_edges(boxes[:, 2] - boxes[:, 0], size)
        top, bottom = bin_edges(boxes[:, 3] - boxes[:, 1], size)
        area = ((bottom - top)[:, :, None] * (right - left)[:, None, :]).astype(np.float32)
        # Flat positions in the table, [n, 3, size, size]: a row holds three channels of width + 1 sums.
        step = self.width + 1
        channels = np.arange(3, dtype=np.intp)[None, :, None, None] * step
        left = (left + boxes[:, :1])[:, None, None, :] + channels
        right = (right + boxes[:, :1])[:, None, None, :] + channels
        top = (top + boxes[:, 1:2])[:, None, :, None] * (3 * step)
        bottom = (bottom + boxes[:, 1:2])[:, None, :, None] * (3 * step)
        flat = self._table.reshape(-1)
        sums = flat.take(bottom + right)
        sums -= flat.take(bottom + left)
        sums -= flat.take(top + right)
        sums += flat.take(top + left)
        scale = (np.float32(PIXEL_SCALE) / area)[:, None]
        np.multiply(sums.view(np.int32), scale, out=out, casting="unsafe", dtype=np.float32)
        out += np.float32(PIXEL_SHIFT)


@dataclass(frozen=True, slots=True)
class Level:
    """The photo at one size, and the grid of windows the proposal network answers for in it."""

    scale: float
    height: int
    width: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of windows. The pool rounds up: an odd side has a last window of half a pool."""
        return (self.height + 1 - MARGIN) // STRIDE, (self.width + 1 - MARGIN) // STRIDE


def levels(height: int, width: int) -> list[Level]:
    """Every size at which a face of ``MIN_FACE`` pixels or more fills a window; none for a tiny photo."""
    scale = CELL / MIN_FACE
    shortest = min(height, width) * scale
    found = []
    while shortest >= CELL:
        found.append(Level(scale, int(height * scale + 1), int(width * scale + 1)))
        scale *= FACTOR
        shortest *= FACTOR
    return found


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of one level's grid: at most a canvas of it."""

    level: int
    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece and the grid position of the canvas that it lies at."""

    piece: Piece
    row: int
    column: int


def pieces(pyramid: list[Level]) -> Iterator[Piece]:
    """The grids of all levels, cut into pieces that fit a canvas."""
    for number, level in enumerate(pyramid):
        grid_rows, grid_columns = level.grid
        for row in range(0, grid_rows, GRID):
            for column in range(0, grid_columns, GRID):
                yield Piece(number, row, column, min(GRID, grid_rows - row), min(GRID, grid_columns - column))


@dataclass(slots=True)
class _Shelf:
    canvas: int
    row: int
    height: int
    free_column: int = 0


def pack(all_pieces: Iterable[Piece]) -> list[list[Placed]]:
    """Lay pieces on as few canvases as shelves allow: tallest first, each on the first shelf with room.

    Neighbours keep the networks' margin apart, so no answer sees two pieces.
    """
    gap = MARGIN // STRIDE
    canvases: list[list[Placed]] = []
    shelves: list[_Shelf] = []
    free_rows: list[int] = []  # per canvas, the first row below its shelves
    for piece in sorted(all_pieces, key=lambda piece: -piece.rows):
        fitting = (
            shelf
            for shelf in shelves
            if piece.rows <= shelf.height and shelf.free_column + piece.columns <= GRID
        )
        shelf = next(fitting, None)
        if shelf is None:
            with_room = (number for number, row in enumerate(free_rows) if row + piece.rows <= GRID)
            canvas = next(with_room, len(canvases))
            if canvas == len(canvases):
                canvases.append([])
                free_rows.append(0)
            shelf = _Shelf(canvas, free_rows[canvas], piece.rows)
            shelves.append(shelf)
            free_rows[canvas] += piece.rows + gap
        canvases[shelf.canvas].append(Placed(piece, shelf.row, shelf.free_column))
        shelf.free_column += piece.columns + gap
    return canvases
