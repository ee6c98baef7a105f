"""The cascade: a cheap network proposes windows, a better one refines them, a third decides.

Rules and constants are those of ``facenet_pytorch.MTCNN(keep_all=True)``, its oddities included: corners are
cut to whole pixels one-based, and some sides count a pixel more than others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging import View
from sightline.models import Graph
from sightline.models.mtcnn import suppression
from sightline.models.mtcnn.geometry import (
    CANVAS,
    CANVAS_CHANNELS,
    CELL,
    MARGIN,
    OUTPUT_BATCH,
    OUTPUT_SIZE,
    REFINE_BATCH,
    REFINE_SIZE,
    STRIDE,
)
from sightline.models.mtcnn.pyramid import AreaSums, Level, Placed, bin_edges, levels, pack, pieces
from sightline.types import Box, Detection

PROPOSE_SCORE: Final = 0.6
REFINE_SCORE: Final = 0.7
OUTPUT_SCORE: Final = 0.7

# ln(0.6 / 0.4) less a hair: windows below it are not worth an exact score.
_PROPOSE_LOGIT: Final = 0.4054

# Tables of photos below 4 megapixels are made on a worker thread and wait with the photo. Larger ones are
# made when their turn comes, as many at a time as fit the second figure, or a single one of any size.
_EARLY_TABLE_BYTES: Final = 12 * 4_000_000
_TABLES_AT_ONCE_BYTES: Final = 256 * 1024 * 1024

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


@dataclass(slots=True)
class Photo:
    """A photo on its way through the cascade: uint8 ``[h, w, 3]`` and, if made already, its table of sums."""

    pixels: NDArray[np.uint8]
    sums: AreaSums | None = None

    @property
    def nbytes(self) -> int:
        """Memory beyond the picture's own pixels."""
        return self.table_bytes if self.sums is not None else 0

    @property
    def table_bytes(self) -> int:
        return AreaSums.num_bytes(self.pixels)


@dataclass(slots=True)
class _Candidates:
    """Boxes of one photo between two stages: f32 ``[n, 4]``, in pixels, one-based as the networks learnt."""

    sums: AreaSums
    boxes: Floats


@dataclass(frozen=True, slots=True)
class _Finds:
    """Cells ``[n]`` of a level's grid, and the proposal network's answers ``[5, n]`` for them."""

    rows: Ints
    columns: Ints
    values: Floats


class FaceCascade:
    """Finds faces of 20 pixels and up.

    ``infer`` answers with one list per photo, most probable face first; of equally probable ones the larger.
    Boxes and landmarks are floats in pixels of the view and may lie outside it. Landmarks are left eye,
    right eye, nose, left and right corner of the mouth, as the viewer sees them. Label: ``face``.

    One deviation from the reference, which stops with an IndexError there: a candidate that has moved out
    of the photo altogether is dropped.
    """

    def __init__(self, propose: Graph, refine: Graph, output: Graph) -> None:
        self._propose_graph = propose
        self._refine_graph = refine
        self._output_graph = output

    def prepare(self, subject: View) -> Photo:
        photo = Photo(subject.pixels())
        if photo.table_bytes <= _EARLY_TABLE_BYTES and levels(*photo.pixels.shape[:2]):
            photo.sums = AreaSums(photo.pixels)
        return photo

    def infer(self, items: Sequence[Photo]) -> list[list[Detection]]:
        return [faces for group in _groups(items) for faces in self._detect(group)]

    def _detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """All stages for photos whose tables are in memory together."""
        proposed = []
        for photo in photos:
            sums = photo.sums or AreaSums(photo.pixels)
            proposed.append(_Candidates(sums, self._propose(sums)))
        return self._decide(self._refine(proposed))

    def _propose(self, sums: AreaSums) -> Floats:
        """Square boxes around what may be a face, ``[n, 4]``, best first."""
        windows = list(self._windows(sums))
        if not windows:
            return np.empty((0, 4), np.float32)
        boxes, scores, offsets = (np.concatenate(parts) for parts in zip(*windows, strict=True))
        # The reference suppresses once more across levels, at 0.7. That never drops anything: windows of
        # one level overlap by 0.5 at most by now, and those of two by (19 / 25)² = 0.58.
        order = np.argsort(-scores, kind="stable")
        boxes, offsets = boxes[order], offsets[order]
        sides = boxes[:, 2:] - boxes[:, :2]
        return _squared(boxes + offsets * np.concatenate([sides, sides], axis=1))

    def _windows(self, sums: AreaSums) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Per level that has any, windows ``[n, 4]``, scores ``[n]`` and offsets ``[n, 4]``."""
        pyramid = levels(sums.height, sums.width)
        found: list[list[_Finds]] = [[] for _ in pyramid]
        canvas = np.zeros((1, CANVAS_CHANNELS, CANVAS, CANVAS), np.float32)
        for placements in pack(pieces(pyramid)):
            for placed in placements:
                _paint(canvas[0], placed, pyramid[placed.piece.level], sums)
            (answer,) = self._propose_graph.run({"pixels": canvas})
            for placed in placements:
                finds = _finds(answer[0], placed)
                if finds is not None:
                    found[placed.piece.level].append(finds)
        for level, parts in zip(pyramid, found, strict=True):
            if parts:
                yield _best_windows(level, parts)

    def _refine(self, photos: Sequence[_Candidates]) -> list[_Candidates]:
        """Return the second network's faces, moved and squared, best first."""
        refined = []
        for one, answer in self._ask(self._refine_graph, photos, REFINE_SIZE, REFINE_BATCH, 5):
            scores = _probability(answer[:, 0])
            passed = scores > REFINE_SCORE
            boxes, scores, offsets = one.boxes[passed], scores[passed], answer[passed, 1:5]
            kept = suppression.suppress(boxes, scores, 0.7)
            refined.append(_Candidates(one.sums, _squared(_moved(boxes[kept], offsets[kept]))))
        return refined

    def _decide(self, photos: Sequence[_Candidates]) -> list[list[Detection]]:
        """Return the faces that the third network accepts."""
        decided = []
        for one, answer in self._ask(self._output_graph, photos, OUTPUT_SIZE, OUTPUT_BATCH, 15):
            scores = _probability(answer[:, 0])
            passed = scores > OUTPUT_SCORE
            boxes, scores, answer = one.boxes[passed], scores[passed], answer[passed]
            sides = boxes[:, 2:] - boxes[:, :2] + np.float32(1)
            x = sides[:, :1] * answer[:, 5:10] + boxes[:, :1] - np.float32(1)
            y = sides[:, 1:] * answer[:, 10:15] + boxes[:, 1:2] - np.float32(1)
            boxes = _moved(boxes, answer[:, 1:5])
            kept = suppression.suppress_contained(boxes, scores, 0.7)
            decided.append(_detections(boxes[kept], scores[kept], np.stack([x[kept], y[kept]], axis=2)))
        return decided

    @staticmethod
    def _ask(
        graph: Graph, photos: Sequence[_Candidates], size: int, batch: int, outputs: int
    ) -> Iterator[tuple[_Candidates, Floats]]:
        """Per photo, the candidates with pixels under them and the network's f32 ``[n, outputs]`` for them.

        Crops of all photos share runs. A run always has ``batch`` crops; what is left over is computed in
        vain.
        """
        pixel_boxes = []
        seen = []
        for photo in photos:
            corners, visible = _pixel_boxes(photo.boxes, photo.sums)
            pixel_boxes.append(corners)
            seen.append(_Candidates(photo.sums, photo.boxes[visible]))
        ends = np.cumsum([len(corners) for corners in pixel_boxes])
        total = int(ends[-1]) if len(ends) else 0
        answers = np.empty((total, outputs), np.float32)
        crops = np.zeros((batch, 3, size, size), np.float32)
        for first in range(0, total, batch):
            last = min(first + batch, total)
            for one, corners, end in zip(seen, pixel_boxes, ends.tolist(), strict=True):
                begin = end - len(corners)
                low, high = max(first, begin), min(last, end)
                if low < high:
                    one.sums.crops(
                        corners[low - begin : high - begin], size, crops[low - first : high - first]
                    )
            (answer,) = graph.run({"pixels": crops})
            answers[first:last] = answer[: last - first]
        yield from zip(seen, np.split(answers, ends[:-1]), strict=True)


def _groups(items: Sequence[Photo]) -> Iterator[list[Photo]]:
    """Neighbours whose tables fit in memory together."""
    group: list[Photo] = []
    group_bytes = 0
    for item in items:
        if group and group_bytes + item.table_bytes > _TABLES_AT_ONCE_BYTES:
            yield group
            group, group_bytes = [], 0
        group.append(item)
        group_bytes += item.table_bytes
    if group:
        yield group


def _paint(canvas: Floats, placed: Placed, level: Level, sums: AreaSums) -> None:
    """Put a piece of a level on the canvas f32 ``[4, CANVAS, CANVAS]``, its missing edge pixels marked."""
    piece = placed.piece
    top, left = placed.row * STRIDE, placed.column * STRIDE
    spans = []
    for first, count, side, full in (
        (piece.row, piece.rows, level.height, sums.height),
        (piece.column, piece.columns, level.width, sums.width),
    ):
        begin = first * STRIDE
        end = min(begin + count * STRIDE + MARGIN, side)
        starts, ends = bin_edges(full, side)
        spans.append((starts[begin:end], ends[begin:end]))
    rows, columns = spans
    bottom, right = top + len(rows[0]), left + len(columns[0])
    sums.means(rows, columns, canvas[:3, top:bottom, left:right])
    edge = canvas[3, top : top + piece.rows * STRIDE + MARGIN, left : left + piece.columns * STRIDE + MARGIN]
    edge[...] = 0
    edge[bottom - top :] = 1
    edge[:, right - left :] = 1


def _finds(answer: Floats, placed: Placed) -> _Finds | None:
    """Cells of a piece that look like a face, out of the canvas's answer ``[5, GRID, GRID]``."""
    piece = placed.piece
    part = answer[:, placed.row : placed.row + piece.rows, placed.column : placed.column + piece.columns]
    rows, columns = np.nonzero(part[0] >= _PROPOSE_LOGIT)
    if not rows.size:
        return None
    return _Finds(rows + piece.row, columns + piece.column, part[:, rows, columns])


def _best_windows(level: Level, parts: list[_Finds]) -> tuple[Floats, Floats, Floats]:
    """Return the remaining finds of a level: boxes in pixels of the photo, scores and offsets."""
    rows = np.concatenate([part.rows for part in parts])
    columns = np.concatenate([part.columns for part in parts])
    values = np.concatenate([part.values for part in parts], axis=1)
    scores = _probability(values[0])
    # Row by row, as the reference finds them: of equal scores the first is kept.
    order = np.lexsort((columns, rows))
    order = order[scores[order] >= PROPOSE_SCORE]
    rows, columns, scores, offsets = rows[order], columns[order], scores[order], values[1:5, order].T
    corner = (STRIDE * np.stack([columns, rows], axis=1)).astype(np.float32)
    scale = np.float32(level.scale)
    boxes = np.floor(np.concatenate([corner + np.float32(1), corner + np.float32(CELL)], axis=1) / scale)
    kept = suppression.suppress_windows(rows, columns, boxes, scores, 0.5, level.grid)
    return boxes[kept], scores[kept], offsets[kept]


def _probability(logits: Floats) -> Floats:
    """The logistic function, in the form that cannot overflow."""
    half = np.float32(0.5)
    scores: Floats = half + half * np.tanh(half * logits)
    return scores


def _squared(boxes: Floats) -> Floats:
    """Boxes grown to squares of their longer side around their own middles."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    half = np.float32(0.5)
    corner: Floats = boxes[:, :2] + sides * half - side * half
    return np.concatenate([corner, corner + side], axis=1)


def _moved(boxes: Floats, offsets: Floats) -> Floats:
    """Boxes moved by offsets in units of their sides, a side counting one pixel more."""
    sides = boxes[:, 2:] - boxes[:, :2] + np.float32(1)
    moved: Floats = boxes + offsets * np.concatenate([sides, sides], axis=1)
    return moved


def _pixel_boxes(boxes: Floats, sums: AreaSums) -> tuple[Ints, NDArray[np.bool_]]:
    """Whole-pixel half-open boxes inside the photo ``[m, 4]``, and which of the ``n`` boxes those are."""
    corners = np.trunc(boxes).astype(np.intp)
    low = np.maximum(corners[:, :2], 1) - 1
    high = np.minimum(corners[:, 2:], (sums.width, sums.height))
    visible: NDArray[np.bool_] = np.all(low < high, axis=1)
    return np.concatenate([low, high], axis=1)[visible], visible


def _detections(boxes: Floats, scores: Floats, points: Floats) -> list[Detection]:
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((-areas, -scores))
    return [
        Detection(Box(*box), score, "face", tuple((x, y) for x, y in face))
        for box, score, face in zip(
            boxes[order].tolist(), scores[order].tolist(), points[order].tolist(), strict=True
        )
    ]
