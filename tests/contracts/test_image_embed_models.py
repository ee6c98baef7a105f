"""The image-embed service's routes answer with the models that service ran, unless told otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

# In order of the names, these come before the built-in models of the same space.
TWO_SIZES = """
import numpy as np
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.embedding import IMAGE_EMBEDDING

class Constant:
    def __init__(self, value):
        self.value = value

    def prepare(self, view):
        return self.value

    def infer(self, items):
        return [np.full(3, item, np.float32) for item in items]

def model(space, value):
    card = ModelCard(
        name=f"a-{space}", capabilities=frozenset({IMAGE_EMBEDDING}), description="d",
        licence="CC0-1.0", homepage="https://example.org", preprocessing="p", parameters=0, multiply_adds=0,
        space=space,
    )
    return ModelDefinition(card, lambda files, graphs: Constant(value))

MODELS = (model("dinov2-base", 224), model("dinov2-base-518", 518))
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "two_sizes.py").write_text(TWO_SIZES)
    return tmp_path


def ask(client: httpx2.Client, image: bytes, kind: str, **params: object) -> dict[str, Any]:
    tasks = [{"operation_id": "it", "type": kind, "params": params}]
    answer = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("a.jpg", image, "image/jpeg")},
        data={"tasks_json": json.dumps(tasks)},
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["results"]["it"])


def test_vectors_are_of_the_size_that_service_used(
    serve: Callable[..., httpx2.Client], plugins: Path, portrait: bytes
) -> None:
    client = serve(plugins_dir=plugins)
    assert ask(client, portrait, "embed_dino_v2")["data"] == [518.0] * 3
    assert ask(client, portrait, "embed_dino_v2", size=None)["data"] == [518.0] * 3
    assert ask(client, portrait, "embed_dino_v2", size=224)["data"] == [224.0] * 3
    native = client.post("/v1/operations/embed_dino_v2", files={"image": portrait})
    assert native.json()["images"][0]["results"]["embed_dino_v2"]["data"]["vector"] == [224.0] * 3


def test_a_setting_chooses_the_smaller_ones(
    serve: Callable[..., httpx2.Client], plugins: Path, portrait: bytes
) -> None:
    client = serve(plugins_dir=plugins, image_embed_models="small")
    assert ask(client, portrait, "embed_dino_v2")["data"] == [224.0] * 3
    assert ask(client, portrait, "embed_dino_v2", size=518)["data"] == [518.0] * 3


@pytest.mark.parametrize(("choice", "captioner"), [("contract", "blip-large"), ("small", "blip-base")])
def test_captions_are_by_the_model_that_service_ran(
    serve: Callable[..., httpx2.Client], portrait: bytes, choice: str, captioner: str
) -> None:
    """Its weights are not here, and the error names it."""
    client = serve(image_embed_models=choice)
    assert f"{captioner}: " in ask(client, portrait, "describe_image")["error_message"]
    assert "blip-base: " in ask(client, portrait, "describe_image", model="blip-base")["error_message"]
