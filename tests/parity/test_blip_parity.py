"""Full-size BLIP base on real photographs, against the transformers library with the same weights."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
transformers = pytest.importorskip("transformers")

from sightline.export import Order  # noqa: E402
from sightline.export.blip import export, reference  # noqa: E402
from sightline.imaging import ImageLimits, View, open_picture  # noqa: E402
from sightline.models import blip  # noqa: E402
from sightline.models.blip.captioner import Captioner  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import Precision, Settings  # noqa: E402
from sightline.subjects import CaptionRequest  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

PHOTOS = (
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "retina",
    "rocket",
)
MAX_LENGTH = 20


@dataclass
class Twin:
    """One captioner twice: in the reference library, and as files."""

    original: Any
    folder: Path
    photos: list[Image.Image]
    pixel_values: Any  # of all photos, as the reference library prepares them

    def served(self, precision: Precision) -> Captioner:
        definition = next(each for each in blip.MODELS if each.name == "blip-base")
        files = {artifact.name: self.folder / artifact.name for artifact in definition.card.artifacts}
        model = definition.load(files, Graphs(Settings(precision=precision)))
        assert isinstance(model, Captioner)
        return model

    def generated(self, num_beams: int, max_length: int = MAX_LENGTH) -> list[list[int]]:
        """What the library writes for each photo alone."""
        options: dict[str, Any] = {"early_stopping": True} if num_beams > 1 else {}
        return [
            self.original.generate(
                pixel_values=values[None],
                max_length=max_length,
                num_beams=num_beams,
                do_sample=False,
                **options,
            )[0].tolist()
            for values in self.pixel_values
        ]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    folder = tmp_path_factory.mktemp("blip")
    order = Order(model="blip-base", weights="random", seed=20, size="full", output=folder)
    export(order)
    photos = [photo(name) for name in PHOTOS]
    prepare = transformers.BlipImageProcessorPil()
    pixel_values = prepare(photos, return_tensors="pt").pixel_values
    return Twin(reference(blip.CHECKPOINTS[0], order), folder, photos, pixel_values)


def photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def view_of(image: Image.Image) -> View:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return View(open_picture(buffer.getvalue(), ImageLimits(10**8, 10**8, 10**5)))


def items(model: Captioner, twin: Twin, num_beams: int, max_length: int = MAX_LENGTH) -> list[Any]:
    return [model.prepare(CaptionRequest(view_of(image), max_length, num_beams)) for image in twin.photos]


def test_pixels_are_the_librarys(twin: Twin) -> None:
    model = twin.served(Precision.F32)
    pixels = np.stack([item.pixels for item in items(model, twin, 1)])
    np.testing.assert_allclose(blip.SQUARE.normalise(pixels), twin.pixel_values.numpy(), atol=1e-5)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_captions_have_the_librarys_token_ids(twin: Twin, num_beams: int) -> None:
    model = twin.served(Precision.F32)
    wanted = twin.generated(num_beams)
    prepared = items(model, twin, num_beams)
    assert [model.token_ids([item])[0] for item in prepared] == wanted
    assert model.token_ids(prepared) == wanted, "pictures of one batch must not notice each other"
    # Weights under which nothing ends early, or everything is the same, would prove little.
    lengths = {len(ids) for ids in wanted}
    print(f"{num_beams} beams: lengths {sorted(len(ids) for ids in wanted)}")
    assert len(lengths) > 2
    assert len({tuple(ids) for ids in wanted}) == len(PHOTOS)


def test_default_precision_sees_the_same(twin: Twin) -> None:
    """What the decoder is told of two pictures: keys and values of each patch, each layer and each head.

    Captions of random weights are no measure here. They hang by a thread: 7 to 9 of 10 are the same.
    """
    pixels = np.stack([item.pixels for item in items(twin.served(Precision.F32), twin, 1)[:2]])
    wanted, found = (
        Graphs(Settings(precision=precision))(twin.folder / "vision.onnx").run({"pixels": pixels})[0]
        for precision in (Precision.F32, Precision.AUTO)
    )
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
    cosines = (found * wanted).sum(-1) / norms
    print(f"cosine {cosines.min():.6f}")
    assert cosines.min() >= 0.999
