"""Full-size BLIP base on real photographs, against the transformers library with the same weights."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
transformers = pytest.importorskip("transformers")

from sightline.capabilities.caption import CaptionRequest  # noqa: E402
from sightline.imaging import ImageLimits, View, open_picture  # noqa: E402
from sightline.models import blip  # noqa: E402
from sightline.models.blip.captioner import END_TOKEN, Captioner  # noqa: E402
from sightline.models.blip.vocabulary import stand_in  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import Precision, Settings  # noqa: E402

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
    """One captioner twice: in the reference library, and as it is pulled."""

    original: Any
    pulled: Any
    photos: list[Image.Image]
    pixel_values: Any  # of all photos, as the reference library prepares them

    def served(self, precision: Precision) -> Captioner:
        model = self.pulled.load(precision)
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
def twin(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    original, folder = captioner(), tmp_path_factory.mktemp("blip")
    # As published: the table of words twice, and a buffer that the library's early versions stored.
    state = dict(original.state_dict())
    words = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    state["text_decoder.cls.predictions.decoder.weight"] = words.clone()
    state["text_decoder.bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(state, folder / "pytorch_model.bin")
    stand_in().save(str(folder / "tokenizer.json"), pretty=False)
    artifacts = {artifact.name: artifact for artifact in blip.MODELS[0].card.artifacts}
    for name in ("pytorch_model.bin", "tokenizer.json"):
        hub.publish_artifact(artifacts[name], folder / name)
    photos = [photo(name) for name in PHOTOS]
    pixel_values = transformers.BlipImageProcessorPil()(photos, return_tensors="pt").pixel_values
    return Twin(original, hub.pull("blip-base"), photos, pixel_values)


def captioner() -> Any:
    """The library's, with random weights that behave like a captioner's.

    As drawn, all words are about equally likely, and a caption ends once in 30,000 tokens. Larger logits make
    a few words likely, so that beams part and meet again; the end token's bonus ends about half of the
    captions within 30 tokens.
    """
    torch.manual_seed(20)
    # The library's own default of 8 heads for texts fits no checkpoint.
    configuration = transformers.BlipConfig(
        text_config={"vocab_size": 30524, "num_attention_heads": 12},
        vision_config={"image_size": 384, "initializer_range": 0.02},
    )
    model = transformers.BlipForConditionalGeneration(configuration).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases start at 0 and norms at 1, which would hide a mistake with them
            parameter.data += 0.02 * torch.randn_like(parameter)
    head = model.text_decoder.cls.predictions
    head.transform.LayerNorm.weight.data *= 4.4 / (0.02 * head.decoder.in_features**0.5)
    head.bias.data[END_TOKEN] += 15.0
    return model


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
        Graphs(Settings(precision=precision))(twin.pulled.installed.files["vision.onnx"]).run(
            {"pixels": pixels}
        )[0]
        for precision in (Precision.F32, Precision.AUTO)
    )
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
    cosines = (found * wanted).sum(-1) / norms
    print(f"cosine {cosines.min():.6f}")
    assert cosines.min() >= 0.999
