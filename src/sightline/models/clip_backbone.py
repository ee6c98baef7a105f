"""CLIP's image input, published checkpoints and networks, for CLIP itself and models that contain it.

No model is defined here. The numbers are those of the reference preprocessing (github.com/openai/CLIP,
``clip.py``) and of the published config.json files.
"""

from __future__ import annotations

from sightline.models.embedders import Square
from sightline.networks.clip import ClipImage, ClipText
from sightline.networks.transformer import Pixels
from sightline.weights.sources import Artifact, HubFile

CONTEXT_TOKENS = 77
END_TOKEN = 49407

SQUARE = Square(
    short_side=224,
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)

# Each file holds both towers.
VIT_B_32_CHECKPOINT = Artifact(
    "pytorch_model.bin",
    (
        HubFile(
            "openai/clip-vit-base-patch32", "pytorch_model.bin", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
        ),
    ),
    sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
    size_bytes=605_247_071,
    intermediate=True,
)
VIT_L_14_CHECKPOINT = Artifact(
    "model.safetensors",
    (
        HubFile(
            "openai/clip-vit-large-patch14", "model.safetensors", "32bd64288804d66eefd0ccbe215aa642df71cc41"
        ),
    ),
    sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    size_bytes=1_710_540_580,
    intermediate=True,
)

VIT_B_32_IMAGE = ClipImage(
    pixels=Pixels(SQUARE.size, 32, SQUARE.mean, SQUARE.std), width=768, layers=12, heads=12, dimensions=512
)
VIT_B_32_TEXT = ClipText(width=512, layers=12, heads=8, dimensions=512)
VIT_L_14_IMAGE = ClipImage(
    pixels=Pixels(SQUARE.size, 14, SQUARE.mean, SQUARE.std), width=1024, layers=24, heads=16, dimensions=768
)
VIT_L_14_TEXT = ClipText(width=768, layers=12, heads=12, dimensions=768)
