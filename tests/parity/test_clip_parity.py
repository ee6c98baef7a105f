"""Full-size CLIP on real photographs and texts, against the transformers library with the same weights."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
transformers = pytest.importorskip("transformers")
transforms = pytest.importorskip("torchvision.transforms")

from sightline.imaging import ImageLimits, View, open_picture  # noqa: E402
from sightline.models import clip  # noqa: E402
from sightline.settings import Precision  # noqa: E402

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
        seen = original.vision_model(pixel_values=torch.stack([prepare(image) for image in images]))
        return original.visual_projection(seen.pooler_output).numpy()


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


PRECISIONS = [(Precision.F32, 0.9999, 1e-3), (Precision.AUTO, 0.999, 0.1)]


@pytest.mark.parametrize(("precision", "least_cosine", "most_drift"), PRECISIONS)
def test_image_tower(clip_b_32: Any, precision: Precision, least_cosine: float, most_drift: float) -> None:
    images = list(photos())
    wanted = original_image_vectors(clip_b_32.original, images)
    found = image_vectors(clip_b_32.pull("clip-vit-b-32").load(precision), images)
    check(found, wanted, least_cosine=least_cosine, most_drift=most_drift)


@pytest.mark.parametrize(("precision", "least_cosine", "most_drift"), PRECISIONS)
@pytest.mark.parametrize("space", ["clip_b_32", "clip_l_14"])
def test_text_tower(
    request: pytest.FixtureRequest, space: str, precision: Precision, least_cosine: float, most_drift: float
) -> None:
    pair = request.getfixturevalue(space)
    with torch.no_grad():
        hidden = pair.original.text_model(**pair.tokens(list(TEXTS))).pooler_output
        wanted = pair.original.text_projection(hidden).numpy()
    model = pair.pull(f"clip-vit-{space[5:].replace('_', '-')}-text").load(precision)
    found = np.stack(model.infer([model.prepare(text) for text in TEXTS]))
    check(found, wanted, least_cosine=least_cosine, most_drift=most_drift)


def test_large_image_tower(clip_l_14: Any) -> None:
    images = list(photos())[:2]
    wanted = original_image_vectors(clip_l_14.original, images)
    for precision, least_cosine, most_drift in ((Precision.F32, 0.9999, 1e-3), (Precision.AUTO, 0.999, 0.2)):
        found = image_vectors(clip_l_14.pull("clip-vit-l-14").load(precision), images)
        check(found, wanted, least_cosine=least_cosine, most_drift=most_drift)
