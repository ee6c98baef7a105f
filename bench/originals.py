"""Models of the transformers library with the made-up numbers that ours have."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.numpy import save_file

from sightline.models import blip, clip_backbone, dinov2
from sightline.networks import Network
from sightline.networks.dinov2 import Dinov2
from sightline.networks.transformer import Pixels


def clip_b_32_image(seed: int) -> Any:
    return _original(
        transformers.CLIPVisionModelWithProjection,
        transformers.CLIPVisionConfig(projection_dim=512),
        clip_backbone.VIT_B_32_IMAGE,
        seed,
    )


def clip_l_14_image(seed: int) -> Any:
    configuration = transformers.CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    )
    return _original(
        transformers.CLIPVisionModelWithProjection, configuration, clip_backbone.VIT_L_14_IMAGE, seed
    )


def dinov2_base(seed: int) -> Any:
    """The network of both sizes of input."""
    square = dinov2.VARIANTS[0].square
    network = Dinov2(pixels=Pixels(square.size, 14, square.mean, square.std))
    configuration = transformers.Dinov2Config(image_size=518, patch_size=14)
    return _original(transformers.Dinov2Model, configuration, network, seed)


def blip_large(seed: int) -> Any:
    configuration = transformers.BlipConfig(
        text_config={"vocab_size": 30524, "num_attention_heads": 12, "encoder_hidden_size": 1024},
        vision_config={
            "image_size": 384,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
    )
    return _original(transformers.BlipForConditionalGeneration, configuration, blip.SIZES[1].network, seed)


def _original(kind: Any, configuration: Any, network: Network, seed: int) -> Any:
    """Loaded as the library loads a checkpoint, which knows names of other ages."""
    with tempfile.TemporaryDirectory() as folder:
        tensors = {name: tensor.numpy() for name, tensor in network.draw(seed).items()}
        save_file(tensors, Path(folder) / "model.safetensors", {"format": "pt"})
        configuration.save_pretrained(folder)
        return kind.from_pretrained(folder, dtype=torch.float32).eval()
