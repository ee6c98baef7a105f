"""A plain map of the world with numbered candidates and circles around the best of them.

Equirectangular: x is longitude, y is latitude, both in equal steps. A circle on the Earth is therefore no
circle on the map except near the equator, and one that reaches past a pole becomes a wave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ModelUnavailable
from sightline.imaging.drawing import Canvas, Colour, Point
from sightline.models.places.land import LAND_FILE, read_land
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.residency import wanted
from sightline.sphere import EARTH_RADIUS_KM, unit_vectors
from sightline.types import Coordinate

WIDTH, HEIGHT = 1600, 800
PIXELS_PER_DEGREE = WIDTH / 360

SEA: Colour = (226, 236, 243)
LAND: Colour = (250, 247, 240)
SHORE: Colour = (166, 172, 178)
GRID: Colour = (207, 219, 228)
INK: Colour = (38, 44, 52)
PAPER: Colour = (255, 255, 255)
BEST: Colour = (196, 30, 58)
OTHER: Colour = (36, 90, 160)
# Circles from the inside out, then again.
RINGS: tuple[Colour, ...] = ((196, 30, 58), (232, 126, 36))

_GRID_DEGREES = 30
_CIRCLE_POINTS = 720
_DOT, _LABEL = 4.0, 11.0

Outline = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Circle:
    """All points ``radius_km`` from the centre along the surface of the Earth; ``label`` says what it is."""

    centre: Coordinate
    radius_km: float
    label: str


def world_land(analyzer: Analyzer) -> list[Outline]:
    """The outlines of all land, brought in if need be and settings allow it.

    Raises:
        ModelUnavailable: they are not installed, or nothing that is known has them.
        WeightsError: they cannot be brought in.
    """
    for definition in analyzer.models.values():
        if not any(artifact.name == LAND_FILE for artifact in definition.card.artifacts):
            continue
        want = wanted(definition)
        installed = analyzer.store.installed(want)
        if installed is None and analyzer.settings.auto_pull:
            installed = analyzer.store.pull(want)
        if installed is None:
            raise ModelUnavailable(
                f"a map needs the outlines of {want.model}; bring them in with {want.instructions}"
            )
        return read_land(installed.files[LAND_FILE])
    raise ModelUnavailable("no model brings the outlines that a map needs")


def draw_world_map(
    land: Sequence[Outline], candidates: Sequence[Coordinate], circles: Sequence[Circle] = ()
) -> bytes:
    """The map as a PNG file, ``WIDTH`` × ``HEIGHT``.

    ``land`` are closed outlines in degrees [points, (longitude, latitude)]. ``candidates`` are numbered from
    1, the best, in red. Circles and their labels come in the order given, the innermost first.
    """
    canvas = Canvas(WIDTH, HEIGHT, SEA)
    _draw_grid(canvas)
    shapes = [_on_map(outline) for outline in land]
    for shape in shapes:  # under the land, so that only shores are seen and no borders
        canvas.line(shape, SHORE, 2)
    for shape in shapes:
        canvas.polygon(shape, LAND)
    for circle, colour in reversed(list(zip(circles, cycle(RINGS), strict=False))):
        for piece in pieces(circle_points(circle.centre, circle.radius_km)):
            canvas.line(piece, colour, 2.5)
    _draw_candidates(canvas, [position(candidate) for candidate in candidates])
    _draw_legend(canvas, [circle.label for circle in circles])
    return canvas.png()


def position(coordinate: Coordinate) -> Point:
    """Where a coordinate is on the map, in pixels."""
    return (coordinate.longitude + 180) * PIXELS_PER_DEGREE, (90 - coordinate.latitude) * PIXELS_PER_DEGREE


def circle_points(centre: Coordinate, radius_km: float) -> list[Coordinate]:
    """A closed line of points at ``radius_km`` from the centre on a sphere, clockwise from its north."""
    angle, bearings = radius_km / EARTH_RADIUS_KM, np.linspace(0, 2 * math.pi, _CIRCLE_POINTS + 1)
    phi, lam = math.radians(centre.latitude), math.radians(centre.longitude)
    # As vectors, so that a pole is a centre like any other.
    here = unit_vectors(np.array([centre.latitude, centre.longitude]))
    north = np.array([-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)])
    east = np.array([-math.sin(lam), math.cos(lam), 0.0])
    aside = np.outer(np.cos(bearings), north) + np.outer(np.sin(bearings), east)
    x, y, z = (math.cos(angle) * here + math.sin(angle) * aside).T
    latitudes, longitudes = np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))
    return [Coordinate(float(lat), float(lon)) for lat, lon in zip(latitudes, longitudes, strict=True)]


def pieces(line: Sequence[Coordinate]) -> Iterator[list[Point]]:
    """A line on the map, cut where it crosses the antimeridian: both pieces go on to the map's edge.

    From one point to the next it takes the shorter way around.
    """
    piece = [position(line[0])]
    for before, after in pairwise(line):
        x, y = position(after)
        # Where the point before would be on a map that goes on past this one's edge.
        around = WIDTH * round((after.longitude - before.longitude) / 360)
        if around:
            last_x, last_y = piece[-1]
            piece.append((x - around, y))
            yield piece
            piece = [(last_x + around, last_y)]
        piece.append((x, y))
    yield piece


def _on_map(outline: Outline) -> list[Point]:
    return [
        ((float(longitude) + 180) * PIXELS_PER_DEGREE, (90 - float(latitude)) * PIXELS_PER_DEGREE)
        for longitude, latitude in outline
    ]


def _draw_grid(canvas: Canvas) -> None:
    for degrees in range(_GRID_DEGREES, 360, _GRID_DEGREES):
        x = degrees * PIXELS_PER_DEGREE
        canvas.line([(x, 0), (x, HEIGHT)], GRID, 1)
    for degrees in range(_GRID_DEGREES, 180, _GRID_DEGREES):
        y = degrees * PIXELS_PER_DEGREE
        canvas.line([(0, y), (WIDTH, y)], GRID, 1)


def _draw_candidates(canvas: Canvas, positions: Sequence[Point]) -> None:
    """A dot where each is, and its number beside it where no better candidate's number is."""
    labels: list[Point] = []
    for at in positions:
        labels.append(_free_spot(at, labels, positions))
    drawn = list(enumerate(zip(positions, labels, strict=True), start=1))
    for _, (at, label) in drawn:
        canvas.line([at, label], INK, 1)
    for number, (at, label) in reversed(drawn):  # the best on top
        colour = BEST if number == 1 else OTHER
        canvas.disc(at, _DOT, colour, PAPER, 1)
        canvas.disc(label, _LABEL, colour, PAPER, 1.5)
        canvas.text(label, str(number), 12, PAPER)


def _free_spot(at: Point, labels: Sequence[Point], dots: Sequence[Point]) -> Point:
    """The nearest of some spots around ``at`` where a label is on the map and touches no other and no dot."""
    for distance in range(20, 400, 12):
        for eighth in range(8):
            bearing = math.pi / 4 * (eighth - 1)
            spot = (at[0] + distance * math.cos(bearing), at[1] + distance * math.sin(bearing))
            inside = _LABEL <= spot[0] <= WIDTH - _LABEL and _LABEL <= spot[1] <= HEIGHT - _LABEL
            apart = all(math.dist(spot, other) > 2 * _LABEL + 1 for other in labels)
            if inside and apart and all(math.dist(spot, dot) > _LABEL + _DOT for dot in dots):
                return spot
    return at


def _draw_legend(canvas: Canvas, labels: Sequence[str]) -> None:
    """A line per circle in the lower left corner, where the map has sea and ice."""
    if not labels:
        return
    size, line, margin = 16.0, 24.0, 12.0
    widest = max(canvas.text_width(label, size) for label in labels)
    top = HEIGHT - 2 * margin - line * len(labels)
    canvas.rectangle((margin, top), (2 * margin + 44 + widest + margin, HEIGHT - margin), PAPER)
    for row, (label, colour) in enumerate(zip(labels, cycle(RINGS), strict=False)):
        y = top + margin / 2 + line * (row + 0.5)
        canvas.line([(2 * margin, y), (2 * margin + 32, y)], colour, 2.5)
        canvas.text((2 * margin + 44 + canvas.text_width(label, size) / 2, y), label, size, INK)
