"""DINOv2's two models: what they see of a picture, and that they are kept apart."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.imaging import ImageLimits, View, open_picture
from sightline.models import ModelCard, catalogue, dinov2
from sightline.weights.sources import Built


def card(name: str) -> ModelCard:
    return catalogue()[name].card


def square_of(name: str, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """What the model sees of a picture of noise, and the picture resized to its shorter side, not cropped."""
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.save(buffer, "PNG")
    view = View(open_picture(buffer.getvalue(), ImageLimits(10**8, 10**8, 10**5)))
    variant = next(variant for variant in dinov2.VARIANTS if variant.name == name)
    short = {"dinov2-base": 256, "dinov2-base-518": 518}[name]
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    kernel = Image.Resampling.BICUBIC
    # One pass after the other: which comes first in one call depends on Pillow's version.
    return variant.square.cut(view), np.asarray(image.resize((size[0], height), kernel).resize(size, kernel))


@pytest.mark.parametrize(("width", "height"), [(640, 427), (427, 640), (300, 300), (90, 61)])
def test_at_224_it_sees_what_transformers_shows_it(require_same_pixels: Any, width: int, height: int) -> None:
    found, resized = square_of("dinov2-base", width, height)
    top, left = (resized.shape[0] - 224) // 2, (resized.shape[1] - 224) // 2
    require_same_pixels(found, resized[top : top + 224, left : left + 224])


@pytest.mark.parametrize(("width", "height"), [(640, 427), (427, 640), (300, 300), (90, 61)])
def test_at_518_it_sees_what_timm_shows_it(require_same_pixels: Any, width: int, height: int) -> None:
    found, resized = square_of("dinov2-base-518", width, height)
    top, left = round((resized.shape[0] - 518) / 2), round((resized.shape[1] - 518) / 2)
    require_same_pixels(found, resized[top : top + 518, left : left + 518])


def test_an_odd_margin_is_cut_as_each_library_does() -> None:
    _, resized = square_of("dinov2-base", 640, 427)
    assert (resized.shape[1] - 224) % 4 == 3, "the sizes above have a margin on which the libraries differ"


def test_the_two_sizes_are_models_and_spaces_of_their_own() -> None:
    assert [each.name for each in dinov2.MODELS] == ["dinov2-base", "dinov2-base-518"]
    cards = [card(each.name) for each in dinov2.MODELS]
    assert [each.space for each in cards] == ["dinov2-base", "dinov2-base-518"]
    assert len({each.preprocessing for each in cards}) == 2
    assert cards[1].multiply_adds > 6 * cards[0].multiply_adds
    for each in cards:
        assert each.capabilities == {IMAGE_EMBEDDING}
        assert each.licence == "Apache-2.0"


def test_both_sizes_come_from_one_file() -> None:
    for each in dinov2.MODELS:
        checkpoint, graph = each.card.artifacts
        assert checkpoint is dinov2.CHECKPOINT
        (source,) = graph.sources
        assert isinstance(source, Built)
        assert (graph.name, source.inputs) == (dinov2.GRAPH_NAME, (checkpoint.name,))
