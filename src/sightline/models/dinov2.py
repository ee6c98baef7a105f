"""DINOv2 ViT-B/14 (Meta 2023): what a picture looks like, as a vector.

The vector is the class token after the last layer norm, raw. One network at two sizes of input, which are two
models, because their vectors cannot be compared: 224 pixels, prepared as the transformers library prepares
them, and 518 pixels, the size it was trained to end at, prepared as timm does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.models import GraphLoader, Model, ModelCard, ModelDefinition
from sightline.models.embedders import ImageTower, Square
from sightline.networks import graph_artifacts
from sightline.networks.dinov2 import Dinov2
from sightline.networks.transformer import Pixels
from sightline.weights.sources import Artifact, HubFile

DIMENSIONS = 768
GRAPH_NAME = "image.onnx"
_PATCH = 14

CHECKPOINT = Artifact(
    "model.safetensors",
    (HubFile("facebook/dinov2-base", "model.safetensors", "f9e44c814b77203eaa57a6bdbbd535f21ede1415"),),
    sha256="d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841",
    size_bytes=346_345_912,
    intermediate=True,
)

# ImageNet's, as in preprocessor_config.json of facebook/dinov2-base and in timm.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The network at one size of input."""

    name: str
    square: Square
    preprocessing: str
    multiply_adds: int
    max_batch: int


# On two cores a picture takes as long in a batch of any size (measured: 1 to 16 at 224, 1 to 4 at 518), so
# batches are no larger than others can wait for.
VARIANTS = (
    Variant(
        name="dinov2-base",
        # BitImageProcessor of transformers with the published configuration.
        square=Square(short_side=256, size=224, mean=_MEAN, std=_STD, halves="down"),
        preprocessing="dinov2-256-bicubic-middle-224",
        multiply_adds=23_200_000_000,
        max_batch=8,
    ),
    Variant(
        name="dinov2-base-518",
        # timm's evaluation transform of vit_base_patch14_dinov2.lvd142m: crop_pct 1.0.
        square=Square(short_side=518, size=518, mean=_MEAN, std=_STD),
        preprocessing="dinov2-518-bicubic-middle",
        multiply_adds=151_600_000_000,
        max_batch=2,
    ),
)


def _definition(variant: Variant) -> ModelDefinition:
    def load(files: Mapping[str, Path], graphs: GraphLoader) -> Model:
        return ImageTower(graphs(files[GRAPH_NAME]), variant.square)

    square, size = variant.square, variant.square.size
    network = Dinov2(pixels=Pixels(size, _PATCH, square.mean, square.std), width=DIMENSIONS)
    card = ModelCard(
        name=variant.name,
        capabilities=frozenset({IMAGE_EMBEDDING}),
        description=f"Vectors of {DIMENSIONS} numbers for how pictures look, at {size} × {size} pixels.",
        licence="Apache-2.0",
        homepage="https://huggingface.co/facebook/dinov2-base",
        preprocessing=variant.preprocessing,
        parameters=86_580_480,
        multiply_adds=variant.multiply_adds,
        artifacts=(CHECKPOINT, *graph_artifacts(network, CHECKPOINT.name)),
        space=variant.name,
        max_batch=variant.max_batch,
    )
    return ModelDefinition(card, load)


MODELS = tuple(_definition(variant) for variant in VARIANTS)
