"""PP-OCRv6 (PaddleOCR, Baidu): the lines of text in a picture, in many scripts.

Three networks in a row: where text is, which lines are upside down, what each line says. Answers equal
those of ``rapidocr`` 3.10.0 (Apache-2.0), whose wheel holds the weights as ONNX files.

M. Liao, Z. Wan, C. Yao, K. Chen, X. Bai: Real-Time Scene Text Detection with Differentiable Binarization,
2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sightline.capabilities.text import TEXT_LINES, PageText, TextLine
from sightline.errors import ModelBroken
from sightline.imaging import View
from sightline.models import Graph, GraphLoader, GraphOptions, ModelCard, ModelDefinition
from sightline.models.pp_ocr import stand_ins
from sightline.models.pp_ocr.detector import Page, find_quads, page_of
from sightline.models.pp_ocr.recogniser import Recogniser
from sightline.settings import Precision
from sightline.weights.sources import Artifact, Recipe, WheelFile

DETECTOR = "detector.onnx"
DIRECTION = "direction.onnx"
RECOGNISER = "recogniser.onnx"
# Lines of one photo that are read; the detector finds up to a thousand regions.
MOST_LINES = 400


def _released(
    name: str, member: str, sha256: str, size_bytes: int, made_up: Callable[[Path, Recipe], None]
) -> Artifact:
    source = WheelFile("rapidocr", "3.10.0", f"rapidocr/models/{member}")
    return Artifact(name, (source,), sha256=sha256, size_bytes=size_bytes, made_up=made_up)


CARD = ModelCard(
    name="pp-ocrv6-small",
    capabilities=frozenset({TEXT_LINES}),
    description="PP-OCRv6 small: lines of printed text with their places, 18,708 characters of many scripts",
    licence="Apache-2.0",
    homepage="https://github.com/PaddlePaddle/PaddleOCR",
    preprocessing="text-736-2000-linear",
    parameters=7_900_000,
    # A photo of 992 × 736 and ten lines of 320 × 48.
    multiply_adds=11_000_000_000,
    artifacts=(
        _released(
            DETECTOR,
            "PP-OCRv6_det_small.onnx",
            "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            9_929_594,
            stand_ins.detector,
        ),
        _released(
            DIRECTION,
            "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
            "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            585_532,
            stand_ins.direction,
        ),
        _released(
            RECOGNISER,
            "PP-OCRv6_rec_small.onnx",
            "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
            21_234_383,
            stand_ins.recogniser,
        ),
    ),
    # One photo keeps all cores busy for half a second.
    max_batch=1,
)


class TextReader:
    """Implements ``models.Model``: a view to the text in it."""

    def __init__(self, detector: Graph, recogniser: Recogniser) -> None:
        self._detector = detector
        self._recogniser = recogniser

    def prepare(self, subject: View) -> Page:
        """Raises like ``View.pixels``."""
        return page_of(subject.pixels())

    def infer(self, items: Sequence[Page]) -> list[PageText]:
        """Return the text of each page; corners are in pixels of the view."""
        return [self._text(page) for page in items]

    def _text(self, page: Page) -> PageText:
        quads = find_quads(page, self._detector)
        readings = self._recogniser.read(page.pixels, quads[:MOST_LINES])
        lines = tuple(
            TextLine(reading.text, reading.score, page.placed_back(quad))
            for quad, reading in zip(quads, readings, strict=False)
            if reading.text.strip()
        )
        return PageText(lines, len(quads) - len(readings))


def load(files: Mapping[str, Path], graphs: GraphLoader) -> TextReader:
    """Open the detector as one, and the others in f32: half precision moves scores by up to 0.16."""
    direction, recogniser = (
        graphs(files[name], GraphOptions(precision=Precision.F32)) for name in (DIRECTION, RECOGNISER)
    )
    alphabet = _alphabet(files[RECOGNISER])
    return TextReader(
        graphs(files[DETECTOR], GraphOptions(detects=True)), Recogniser(direction, recogniser, alphabet)
    )


def _alphabet(path: Path) -> list[str]:
    """The characters of the recogniser, as its file lists them, and the space.

    Raises:
        ModelBroken: the file has no list of characters.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    listed = next((entry.value for entry in model.metadata_props if entry.key == "character"), None)
    if listed is None:
        raise ModelBroken(f"{path.name} lists no characters; expected PP-OCR's metadata 'character'")
    return [*listed.split("\n"), " "]


MODELS = (ModelDefinition(CARD, load),)
