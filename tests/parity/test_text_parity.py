"""Text of photographs and drawn pages, against ``rapidocr`` with the networks of its own wheel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sightline.capabilities.text import TextLine
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import pp_ocr
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import Precision, Settings
from sightline.weights.store import Store

# Both sides read all images in one fixture, which takes a minute and more on a busy machine.
pytestmark = [pytest.mark.parity, pytest.mark.timeout(900)]

Pixels = NDArray[np.uint8]

PHOTOS = (
    *("astronaut", "brick", "camera", "cat", "checkerboard", "clock", "coffee", "coins", "colorwheel"),
    *("grass", "gravel", "horse", "hubble_deep_field", "immunohistochemistry", "logo", "moon", "page"),
    *("retina", "rocket", "text"),
)
PAGES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "receipt": (("TOTAL 12.50 EUR", "VAT 21% 2.17", "Thank you"), {"size": 28}),
    "sign": (("NO ENTRY", "EXCEPT BUSES"), {"size": 60}),
    "dark": (("WHITE ON BLACK", "second line"), {"size": 40, "dark": True}),
    "small": (("the quick brown fox jumps over the lazy dog 0123456789",), {"size": 18}),
    "large": (("HUGE",), {"size": 160}),
    "strip": (("2021-05-14   06:32:10   12C   CAM07",), {"size": 34, "dark": True, "width": 1280}),
    "wide": (("one very long line " * 7,), {"size": 30, "width": 2000}),
    "digits": (("3.14159 2.71828", "+31 20 1234567"), {"size": 44}),
    "many": (tuple(f"line number {number}" for number in range(20)), {"size": 24}),
    "accents": (("Crème brûlée à Genève", "Größe Straße Fünf"), {"size": 40}),
    "blank": ((), {}),
    "narrow": (("I",), {"size": 48, "width": 120}),
}
# The package opens a picture with OpenCV and we with Pillow: PNG gives both the same pixels.
LIMITS = ImageLimits.from_settings(Settings(_env_file=None))


def drawn(lines: tuple[str, ...], size: int = 36, width: int = 900, *, dark: bool = False) -> Pixels:
    ground, ink = ((0,) * 3, (255,) * 3) if dark else ((255,) * 3, (0,) * 3)
    image = Image.new("RGB", (width, int(size * 1.8 * max(len(lines), 1)) + 20), ground)
    for number, line in enumerate(lines):
        place = (20, 10 + int(number * size * 1.8))
        ImageDraw.Draw(image).text(place, line, fill=ink, font=ImageFont.load_default(size))
    return np.asarray(image)


def photo(name: str) -> Pixels:
    from skimage import data

    pixels = np.asarray(getattr(data, name)())
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


IMAGES: dict[str, Callable[[], Pixels]] = {
    **{name: (lambda name=name: photo(name)) for name in PHOTOS},
    **{name: (lambda page=page: drawn(page[0], **page[1])) for name, page in PAGES.items()},
}


@dataclass(frozen=True)
class Compared:
    ours: list[TextLine]
    theirs: list[tuple[str, float, NDArray[np.float64]]]

    @property
    def same_lines(self) -> bool:
        return sorted(line.text for line in self.ours) == sorted(text for text, _, _ in self.theirs)

    def differences(self) -> tuple[float, float]:
        """The greatest of corners, in pixels, and of scores, over lines with the same text."""
        corners = scores = 0.0
        left = list(self.theirs)
        for line in self.ours:
            fits = [each for each in left if each[0] == line.text]
            if not fits:
                continue
            best = min(fits, key=lambda each: float(np.abs(each[2] - np.array(line.quad)).max()))
            left = [each for each in left if each is not best]
            corners = max(corners, float(np.abs(best[2] - np.array(line.quad)).max()))
            scores = max(scores, abs(best[1] - line.score))
        return corners, scores


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pp_ocr.TextReader:
    """The product's, from the same wheel, in f32."""
    (definition,) = pp_ocr.MODELS
    files = Store(tmp_path_factory.mktemp("store")).pull(wanted(definition)).files
    return pp_ocr.load(files, Graphs(Settings(_env_file=None, precision=Precision.F32, threads=2)))


@pytest.fixture(scope="module")
def package() -> Any:
    rapidocr = pytest.importorskip("rapidocr")
    return rapidocr.RapidOCR()


@pytest.fixture(scope="module")
def compared(
    reader: pp_ocr.TextReader, package: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Compared]:
    folder: Path = tmp_path_factory.mktemp("pages")
    found = {}
    for name, load in IMAGES.items():
        file = folder / f"{name}.png"
        file.write_bytes(encode_png(load()))
        view = View(open_picture(file.read_bytes(), LIMITS), None)
        (ours,) = reader.infer([reader.prepare(view)])
        said = package(str(file))
        theirs = (
            []
            if said.boxes is None
            else [
                (str(text), float(score), np.asarray(box, np.float64))
                for box, text, score in zip(said.boxes, said.txts, said.scores, strict=True)
            ]
        )
        kept = [line for line in ours.lines if line.score >= 0.5]
        found[name] = Compared(kept, theirs)
    return found


# Photos without text, in which the network takes something round that fills the view for a letter. Its score
# hangs by the last bit of a resized pixel.
ROUND_THINGS = ("camera", "retina")


def test_there_are_enough_images() -> None:
    assert len(set(IMAGES) - set(ROUND_THINGS)) >= 30


@pytest.mark.parametrize("name", ROUND_THINGS)
def test_a_letter_in_something_round_is_as_unsure_as_the_packages(
    compared: dict[str, Compared], name: str
) -> None:
    found = compared[name]
    ours, theirs = (
        {line.text: line.score for line in found.ours},
        {text: score for text, score, _ in found.theirs},
    )
    for text in ours | theirs:
        # A line that one side leaves out had at most the usual least score there.
        assert abs(ours.get(text, 0.5) - theirs.get(text, 0.5)) <= 0.05


@pytest.mark.parametrize("name", [name for name in IMAGES if name not in ROUND_THINGS])
def test_the_lines_are_those_of_the_package(compared: dict[str, Compared], name: str) -> None:
    found = compared[name]
    assert found.same_lines, (
        sorted(line.text for line in found.ours), sorted(text for text, _, _ in found.theirs)
    )  # fmt: skip
    corners, scores = found.differences()
    assert corners <= 2
    assert scores <= 0.02
