"""Full-size CLIP on real photographs and texts, against the transformers library with the same weights."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
transformers = pytest.importorskip("transformers")
transforms = pytest.importorskip("torchvision.transforms")

from sightline.export import Order  # noqa: E402
from sightline.export.clip import export, reference  # noqa: E402
from sightline.imaging import ImageLimits, View, open_picture  # noqa: E402
from sightline.models import clip  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import Precision, Settings  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")
TEXTS = (
    "",
    "a dog",
    "A photo of a cat.",
    "two zebras at a water hole, seen from far away in the evening",
    "it's 5 o'clock: café, naïve, 北京 & 🦒!",
    "a " * 75,
)


@dataclass
class Pair:
    """One tower twice: in the reference library, and as files."""

    tower: clip.Tower
    original: Any
    folder: Path

    def served(self, precision: Precision) -> Any:
        definition = next(each for each in clip.MODELS if each.name == self.tower.name)
        files = {artifact.name: self.folder / artifact.name for artifact in definition.card.artifacts}
        return definition.load(files, Graphs(Settings(precision=precision)))


def pair(name: str, folder: Path) -> Pair:
    tower = next(each for each in clip.TOWERS if each.name == name)
    order = Order(model=name, weights="random", seed=20, size="full", output=folder)
    export(order)
    return Pair(tower, reference(tower, order), folder)


@pytest.fixture(scope="module")
def b32(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair("clip-vit-b-32", tmp_path_factory.mktemp("b32"))


@pytest.fixture(scope="module")
def l14(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair("clip-vit-l-14", tmp_path_factory.mktemp("l14"))


@pytest.fixture(scope="module")
def b32_text(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair("clip-vit-b-32-text", tmp_path_factory.mktemp("b32text"))


def photos() -> Iterator[Image.Image]:
    for name in PHOTOS:
        yield Image.fromarray(getattr(data, name)()[..., :3])


def view_of(image: Image.Image) -> View:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return View(open_picture(buffer.getvalue(), ImageLimits(10**8, 10**8, 10**5)))


def image_vectors(model: Any, images: list[Image.Image]) -> np.ndarray:
    return np.stack(model.infer([model.prepare(view_of(image)) for image in images]))


def original_image_vectors(original: Any, images: list[Image.Image]) -> np.ndarray:
    """Prepared as OpenAI's ``clip.load`` does, by torchvision.

    The processor of transformers crops half a pixel further to the left where a margin is odd.
    """
    prepare = transforms.Compose(
        [
            transforms.Resize(224, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(clip.SQUARE.mean, clip.SQUARE.std),
        ]
    )
    with torch.no_grad():
        return original(pixel_values=torch.stack([prepare(image) for image in images])).image_embeds.numpy()


def cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return (found * wanted).sum(1) / norms


def drift(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest error, as a part of how far the vectors lie from their mean.

    Random towers give similar vectors for all inputs, which makes cosines forgiving; this is not.
    """
    spread = np.linalg.norm(wanted - wanted.mean(0), axis=1).mean()
    return float(np.linalg.norm(found - wanted, axis=1).max() / spread)


def check(found: np.ndarray, wanted: np.ndarray, *, least_cosine: float, most_drift: float) -> None:
    print(f"cosine {cosines(found, wanted).min():.6f}, drift {drift(found, wanted):.1e}")
    assert found.dtype == np.float32
    assert cosines(found, wanted).min() >= least_cosine
    assert drift(found, wanted) <= most_drift


@pytest.mark.parametrize(
    ("precision", "least_cosine", "most_drift"),
    [(Precision.F32, 0.9999, 1e-3), (Precision.AUTO, 0.999, 0.1)],
)
def test_image_tower(b32: Pair, precision: Precision, least_cosine: float, most_drift: float) -> None:
    images = list(photos())
    wanted = original_image_vectors(b32.original, images)
    found = image_vectors(b32.served(precision), images)
    check(found, wanted, least_cosine=least_cosine, most_drift=most_drift)


@pytest.mark.parametrize(
    ("precision", "least_cosine", "most_drift"),
    [(Precision.F32, 0.9999, 1e-3), (Precision.AUTO, 0.999, 0.1)],
)
def test_text_tower(b32_text: Pair, precision: Precision, least_cosine: float, most_drift: float) -> None:
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(b32_text.folder / "tokenizer.json"), pad_token="<|endoftext|>"
    )
    ids = tokenizer(list(TEXTS), padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        wanted = b32_text.original(**ids).text_embeds.numpy()
    model = b32_text.served(precision)
    found = np.stack(model.infer([model.prepare(text) for text in TEXTS]))
    check(found, wanted, least_cosine=least_cosine, most_drift=most_drift)


def test_large_image_tower(l14: Pair) -> None:
    images = list(photos())[:2]
    wanted = original_image_vectors(l14.original, images)
    for precision, least_cosine, most_drift in ((Precision.F32, 0.9999, 1e-3), (Precision.AUTO, 0.999, 0.2)):
        found = image_vectors(l14.served(precision), images)
        check(found, wanted, least_cosine=least_cosine, most_drift=most_drift)
