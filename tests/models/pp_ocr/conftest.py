"""The released networks, pulled once into pytest's cache, and drawn pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sightline.capabilities.text import PageText
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import pp_ocr
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.weights.store import Store

Pixels = NDArray[np.uint8]
Read = Callable[[Pixels], PageText]


@pytest.fixture(scope="session")
def reader(request: pytest.FixtureRequest) -> pp_ocr.TextReader:
    assert request.config.cache is not None
    store = Store(request.config.cache.mkdir("sightline-models"))
    (definition,) = pp_ocr.MODELS
    return pp_ocr.load(store.pull(wanted(definition)).files, Graphs(Settings(threads=2)))


@pytest.fixture(scope="session")
def read(reader: pp_ocr.TextReader) -> Read:
    """Reads pixels [h, w, 3] with the released networks."""
    limits = ImageLimits.from_settings(Settings())

    def read(pixels: Pixels) -> PageText:
        view = View(open_picture(encode_png(pixels), limits), None)
        (found,) = reader.infer([reader.prepare(view)])
        return found

    return read


@pytest.fixture(scope="session")
def page() -> Callable[..., Pixels]:
    """Draws lines of text: ``page(lines, size=36, width=900, dark=False)``, uint8 [h, width, 3]."""

    def draw(lines: Sequence[str], size: int = 36, width: int = 900, *, dark: bool = False) -> Pixels:
        ground, ink = ((0,) * 3, (255,) * 3) if dark else ((255,) * 3, (0,) * 3)
        image = Image.new("RGB", (width, int(size * 1.8 * len(lines)) + 20), ground)
        for number, line in enumerate(lines):
            place = (20, 10 + int(number * size * 1.8))
            ImageDraw.Draw(image).text(place, line, fill=ink, font=ImageFont.load_default(size))
        return np.asarray(image)

    return draw
