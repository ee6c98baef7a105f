"""The reference libraries' networks with the same made-up numbers as ours, in f32 and evaluation mode."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)

from sightline.models import blip, clip
from sightline.models.blip.captioner import VOCABULARY_SIZE
from sightline.models.dinov2 import DIMENSIONS
from sightline.networks.clip import ClipImage
from sightline.networks.dinov2 import Dinov2
from sightline.networks.network import Network
from sightline.networks.transformer import Pixels


def clip_image(name: str, seed: int) -> Any:
    """An image tower of CLIP."""
    network = next(tower.network for tower in clip.TOWERS if tower.name == name)
    assert isinstance(network, ClipImage)
    configuration = CLIPVisionConfig(
        hidden_size=network.width,
        intermediate_size=4 * network.width,
        num_hidden_layers=network.layers,
        num_attention_heads=network.heads,
        patch_size=network.pixels.patch,
        projection_dim=network.dimensions,
    )
    return _loaded(CLIPVisionModelWithProjection, configuration, network, seed)


def dinov2(seed: int) -> Any:
    network = Dinov2(pixels=Pixels(224, 14, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), width=DIMENSIONS)
    return _loaded(Dinov2Model, Dinov2Config(image_size=518, patch_size=14), network, seed)


def blip_captioner(name: str, seed: int) -> Any:
    network = next(size.network for size in blip.SIZES if size.name == name)
    configuration = BlipConfig(
        # The library's own default of 8 heads fits no checkpoint.
        text_config={"vocab_size": VOCABULARY_SIZE, "num_attention_heads": network.text_heads},
        vision_config={
            "image_size": network.pixels.size,
            "hidden_size": network.vision_width,
            "intermediate_size": 4 * network.vision_width,
            "num_hidden_layers": network.vision_layers,
            "num_attention_heads": network.vision_heads,
        },
    )
    return _loaded(BlipForConditionalGeneration, configuration, network, seed)


def drawn(network: Network, seed: int) -> dict[str, torch.Tensor]:
    """The network's made-up numbers by their published names."""
    return {name: torch.tensor(tensor.numpy()) for name, tensor in network.draw(seed).items()}


def _loaded(kind: Any, configuration: Any, network: Network, seed: int) -> Any:
    """Through a file: the library translates published names when it reads one."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(drawn(network, seed), Path(folder) / "model.safetensors", {"format": "pt"})
        configuration.save_pretrained(folder)
        return kind.from_pretrained(folder).eval()
