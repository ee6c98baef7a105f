"""Where text is: a picture to quadrilaterals, by differentiable binarisation (Liao et al. 2020).

Constants are those of ``rapidocr`` 3.10.0 (``config.yaml``, ``ch_ppocr_det``), whose answers these equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging import resize_linear
from sightline.models import Graph
from sightline.models.pp_ocr.regions import (
    Floats,
    RowSums,
    clockwise,
    components,
    dilated,
    grown,
    smallest_rectangle,
)

Pixels = NDArray[np.uint8]

# Sides of what the whole pipeline works on: longer pictures are reduced, shorter ones enlarged.
LONGEST_SIDE, SHORTEST_SIDE = 2000, 30
# The detector sees a shorter side of at least this many pixels, and both sides in steps.
DETECTOR_SIDE, STEP = 736, 32
# The longer side that a strip without a margin has then. Higher pictures are not enlarged beyond it.
LONGEST_DETECTOR_SIDE = 8 * DETECTOR_SIDE
# Strips wider than this, or lower than SHORTEST_SIDE, get a black margin above and below.
STRIP_RATIO = 8

_THRESHOLD: Final = 0.3
_BOX_THRESHOLD: Final = 0.5
_MOST_REGIONS: Final = 1000
_LEAST_SIDE: Final = 3
_GROWTH: Final = 1.6
_SAME_LINE_PX: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """A picture as the detector and the crops see it.

    Attributes:
        pixels: uint8 ``[h, w, 3]``, RGB.
        scale: (x, y) factors from these pixels to the view's.
        margin: rows of black above the picture.
        width, height: of the view.
    """

    pixels: Pixels
    scale: tuple[float, float]
    margin: int
    width: int
    height: int

    @property
    def nbytes(self) -> int:
        """Memory of the pixels."""
        return self.pixels.nbytes

    def placed_back(self, quad: Floats) -> tuple[tuple[float, float], ...]:
        """Return corners in pixels of the page as corners in pixels of the view, inside it."""
        moved = (quad - (0, self.margin)) * self.scale
        inside = np.clip(moved, 0, (self.width, self.height))
        return tuple((round(float(x), 2), round(float(y), 2)) for x, y in inside)


def page_of(pixels: Pixels) -> Page:
    """Bring the sides of ``pixels`` [h, w, 3] within bounds, and give strips their margins."""
    height, width = pixels.shape[:2]
    page = pixels
    if max(height, width) > LONGEST_SIDE:
        page = _scaled(page, LONGEST_SIDE / max(height, width))
    if min(page.shape[:2]) < SHORTEST_SIDE:
        # The reference enlarges a thread of 700 × 1 pixels to gigabytes.
        room = max(1.0, LONGEST_SIDE / max(page.shape[:2]))
        page = _scaled(page, min(SHORTEST_SIDE / min(page.shape[:2]), room))
    scale = width / page.shape[1], height / page.shape[0]
    margin = _margin(*page.shape[:2])
    if margin:
        page = np.pad(page, ((margin, margin), (0, 0), (0, 0)))
    return Page(page, scale, margin, width, height)


def find_quads(page: Page, graph: Graph) -> list[Floats]:
    """Return the quadrilaterals of text in pixels of the page, in reading order: float64 ``[4, 2]`` each."""
    height, width = page.pixels.shape[:2]
    ratio = max(1.0, min(DETECTOR_SIDE / min(height, width), LONGEST_DETECTOR_SIDE / max(height, width)))
    seen = resize_linear(page.pixels, _stepped(width * ratio), _stepped(height * ratio))
    (spec,) = graph.inputs
    answer = graph.run({spec.name: _normalised(seen)})[0][0, 0]
    quads = []
    sums = RowSums(answer)
    for points in components(dilated(answer > _THRESHOLD), _MOST_REGIONS):
        quad = _quad(points, sums, answer.shape, (width, height))
        if quad is not None:
            quads.append(quad)
    return _in_reading_order(quads)


def _quad(points: Floats, sums: RowSums, shape: tuple[int, ...], size: tuple[int, int]) -> Floats | None:
    """The text around one region, in whole pixels of the page; None if it is too small or too faint."""
    rectangle, short_side = smallest_rectangle(points)
    if short_side < _LEAST_SIDE or sums.mean_inside(rectangle) < _BOX_THRESHOLD:
        return None
    rectangle, short_side = grown(rectangle, _GROWTH)
    if short_side < _LEAST_SIDE + 2:
        return None
    limits = np.array(size, np.float64)
    on_page = np.rint(rectangle / (shape[1], shape[0]) * limits)
    quad = np.trunc(np.clip(clockwise(np.clip(on_page, 0, limits)), 0, limits - 1))
    width, height = np.hypot(*(quad[1] - quad[0])), np.hypot(*(quad[3] - quad[0]))
    return quad if int(width) > _LEAST_SIDE and int(height) > _LEAST_SIDE else None


def _in_reading_order(quads: list[Floats]) -> list[Floats]:
    """From the top; quads whose first corners are less than ten pixels apart downwards are one line."""
    if not quads:
        return []
    by_y = sorted(quads, key=lambda quad: float(quad[0, 1]))
    corners = np.array([quad[0] for quad in by_y])
    lines = np.concatenate([[0], np.cumsum(np.diff(corners[:, 1]) >= _SAME_LINE_PX)])
    return [by_y[place] for place in np.lexsort((corners[:, 0], lines))]


def _scaled(pixels: Pixels, ratio: float) -> Pixels:
    height, width = pixels.shape[:2]
    return resize_linear(pixels, _stepped(width * ratio), _stepped(height * ratio))


def _stepped(side: float) -> int:
    """The nearest multiple of 32, at least one: the reference fails on strips thinner than half a step."""
    return max(round(int(side) / STEP), 1) * STEP


def _margin(height: int, width: int) -> int:
    if height > SHORTEST_SIDE and width / height <= STRIP_RATIO:
        return 0
    return abs(max(width // STRIP_RATIO, SHORTEST_SIDE) * 2 - height) // 2


def _normalised(pixels: Pixels) -> NDArray[np.float32]:
    """float32 ``[1, 3, h, w]`` from -1 to 1, blue first, as the networks were trained with OpenCV."""
    table = ((np.arange(256) / 255 - 0.5) / 0.5).astype(np.float32)
    return np.ascontiguousarray(table[pixels[:, :, ::-1]].transpose(2, 0, 1))[None]
