"""Zero-shot classes by the real operation, against transformers' ``CLIPModel`` with the same weights."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
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

from sightline import operations  # noqa: E402
from sightline.models import ModelDefinition, catalogue, clip  # noqa: E402
from sightline.runtime.analyzer import Analyzer, Status, Task  # noqa: E402
from sightline.runtime.engine import Engine  # noqa: E402
from sightline.runtime.telemetry import Telemetry  # noqa: E402
from sightline.settings import Settings  # noqa: E402
from sightline.weights.store import Store  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
LABELS = ("cat", "astronaut", "cup of coffee on a table", "rocket at night", "map")
PROMPTS = {
    "map": ["a street map", "a topographic map of the alps", "a site plan with roads"],
    "portrait": ["a portrait of a woman", "somebody's face"],
    "other": ["something else"],
}


@dataclass
class Both:
    """The two towers twice: as one ``CLIPModel``, and as they are pulled."""

    clip: Any
    models_dir: Path
    known: Mapping[str, ModelDefinition]

    @property
    def original(self) -> Any:
        return self.clip.original

    def original_text_vectors(self, texts: list[str]) -> Any:
        hidden = self.original.text_model(**self.clip.tokens(texts)).pooler_output
        vectors = self.original.text_projection(hidden)
        return vectors / vectors.norm(dim=-1, keepdim=True)

    async def probabilities(self, photo: bytes, precision: str, params: Mapping[str, Any]) -> np.ndarray:
        settings = Settings(
            _env_file=None,
            models_dir=self.models_dir,
            offline=True,
            precision=precision,
            request_timeout_s=300,
        )
        store, telemetry = Store.from_settings(settings), Telemetry()
        engine = Engine(settings, self.known, store, telemetry)
        async with Analyzer(
            settings, operations.catalogue(), self.known, engine, store, telemetry
        ) as analyzer:
            task = analyzer.bind(Task("it", "classify_zero_shot", params))
            (outcome,) = await analyzer.analyze(analyzer.open(photo), [task])
        assert outcome.status is Status.OK, outcome.error
        assert outcome.answer is not None
        return np.array(list(outcome.answer.data.probabilities.values()))


@pytest.fixture(scope="module")
def both(hub: Any, clip_b_32: Any) -> Both:
    pulled = {name: clip_b_32.pull(name) for name in ("clip-vit-b-32", "clip-vit-b-32-text")}
    known = {**catalogue(), **{name: each.definition for name, each in pulled.items()}}
    return Both(clip_b_32, hub.root, known)


def photograph(name: str) -> tuple[bytes, Any]:
    """A PNG, and what OpenAI's ``clip.load`` makes of it (see test_clip_parity)."""
    image = Image.fromarray(getattr(data, name)()[..., :3])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    prepare = transforms.Compose(
        [
            transforms.Resize(224, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(clip.SQUARE.mean, clip.SQUARE.std),
        ]
    )
    return buffer.getvalue(), prepare(image)[None]


def check(found: np.ndarray, wanted_: np.ndarray, most: float) -> None:
    print(f"probabilities {np.round(wanted_, 4)}, largest difference {np.abs(found - wanted_).max():.1e}")
    assert np.abs(found - wanted_).max() <= most
    assert wanted_.max() < 0.9999, "one label takes all: this shows nothing"


@pytest.mark.parametrize("photo", PHOTOS)
async def test_one_prompt_per_label(both: Both, photo: str) -> None:
    """As ``CLIPModel.forward`` does it: ``logits_per_image`` and a softmax."""
    file, pixels = photograph(photo)
    texts = [f"a photo of a {label}." for label in LABELS]
    ids = both.clip.tokens(texts)
    with torch.no_grad():
        wanted_ = both.original(pixel_values=pixels, **ids).logits_per_image.softmax(-1)[0].numpy()
    check(await both.probabilities(file, "f32", {"labels": list(LABELS)}), wanted_, 1e-3)
    # What bf16 costs where the processor has it; vectors of random towers lie closer together than real ones.
    check(await both.probabilities(file, "auto", {"labels": list(LABELS)}), wanted_, 0.03)


async def test_averaged_prompts(both: Both) -> None:
    """As the notebook of github.com/openai/CLIP averages them, by hand on ``CLIPModel``'s vectors."""
    file, pixels = photograph("astronaut")
    with torch.no_grad():
        labels = []
        for texts in PROMPTS.values():
            mean = both.original_text_vectors(texts).mean(0)
            labels.append(mean / mean.norm())
        picture = both.original.visual_projection(
            both.original.vision_model(pixel_values=pixels).pooler_output
        )
        picture = picture / picture.norm(dim=-1, keepdim=True)
        scale = both.original.logit_scale.exp()
        wanted_ = (scale * picture @ torch.stack(labels).T).softmax(-1)[0].numpy()
    check(await both.probabilities(file, "f32", {"labels": PROMPTS}), wanted_, 1e-3)


def test_the_scale_of_the_released_weights_is_a_hundred() -> None:
    """``logit_scale`` of both is 4.6052."""
    assert abs(clip.SIMILARITY_SCALE - math.exp(4.6052)) < 1e-2
