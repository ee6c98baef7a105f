"""CLIP from the transformers library to ``image.onnx`` or ``text.onnx`` (with ``tokenizer.json``)."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from sightline.errors import UnknownModel
from sightline.export import Order, hub, onnx_file
from sightline.export.clip_towers import ImageTower, TextTower
from sightline.models.clip import CONTEXT_TOKENS, END_TOKEN, SQUARE, TOKENIZER, TOWERS, Tower
from sightline.models.clip_vocabulary import stand_in
from sightline.weights.sources import HubFile

_log = logging.getLogger(__name__)

# Shapes of the published configurations; what is not here is the library's default, which is ViT-B/32.
_FULL: dict[str, dict[str, int]] = {
    "clip-vit-b-32": {},
    "clip-vit-b-32-text": {},
    "clip-vit-l-14": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
    },
    "clip-vit-l-14-text": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
}
# Models of other families with one of these towers inside, as their own image.onnx.
_BACKBONES = {"geoclip": "clip-vit-l-14"}
_TINY = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}


def export(order: Order) -> None:
    """Write the artifacts of one of the four CLIP models, or the backbone of a model that has one inside.

    Raises:
        UnknownModel: the family has no model of that name.
        SourceUnreachable, SourceMissing: the original weights cannot be had.
        ExportFailed: a file does not compute what the original does.
    """
    name = _BACKBONES.get(order.model, order.model)
    tower = next((tower for tower in TOWERS if tower.name == name), None)
    if tower is None:
        names = ", ".join([*(tower.name for tower in TOWERS), *_BACKBONES])
        raise UnknownModel(f"the clip exporter has no {order.model!r}; it has {names}")
    model = reference(tower, order)
    metadata = {"model": order.model, "weights": order.weights}
    if order.weights == "random":
        metadata |= {"seed": str(order.seed), "size": order.size}
    path = order.output / tower.graph_name
    with torch.no_grad():
        if tower.reads_text:
            metadata["tokenizer"] = _write_tokenizer(order)
            _export_text(model, path, metadata)
        else:
            _export_image(model, path, metadata)


def reference(tower: Tower, order: Order) -> Any:
    """The original in the transformers library, f32, in evaluation mode."""
    kind = CLIPTextModelWithProjection if tower.reads_text else CLIPVisionModelWithProjection
    if order.weights == "canonical":
        return hub.load(kind, tower.repo, tower.revision)
    shape: dict[str, Any] = _TINY if order.size == "tiny" else {}
    configuration = CLIPTextConfig if tower.reads_text else CLIPVisionConfig
    shape = {**_FULL[tower.name], **shape, "projection_dim": tower.dimensions}
    torch.manual_seed(order.seed)
    model = kind(configuration(**shape)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases start at 0 and norms at 1, which would hide a mistake with them
            parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def _export_image(model: Any, path: Path, metadata: dict[str, str]) -> None:
    pixels = torch.randint(0, 256, (3, SQUARE.size, SQUARE.size, 3), dtype=torch.uint8)
    expected = model(pixel_values=torch.from_numpy(SQUARE.normalise(pixels.numpy()))).image_embeds
    onnx_file.write(
        ImageTower(model), {"pixels": pixels}, {"pixels": {0: "batch"}}, "image_embeds", path, metadata
    )
    onnx_file.compare(path, {"pixels": pixels}, expected)


def _export_text(model: Any, path: Path, metadata: dict[str, str]) -> None:
    ids = _texts(3, CONTEXT_TOKENS)
    axes = {0: "batch", 1: "length"}
    onnx_file.write(TextTower(model), {"input_ids": ids}, {"input_ids": axes}, "text_embeds", path, metadata)
    for length in (CONTEXT_TOKENS, 8):
        ids = _texts(2, length)
        onnx_file.compare(path, {"input_ids": ids}, model(input_ids=ids).text_embeds)


def _texts(count: int, length: int) -> Tensor:
    """Random token ids with an end somewhere, and zeros after it."""
    ids = torch.randint(1, END_TOKEN - 1, (count, length))
    for row, end in zip(ids, torch.randint(1, length, (count,)).tolist(), strict=True):
        row[0], row[end] = END_TOKEN - 1, END_TOKEN
        row[end + 1 :] = 0
    return ids


def _write_tokenizer(order: Order) -> str:
    target = order.output / TOKENIZER.name
    if order.weights == "random":
        stand_in().save(str(target), pretty=False)
        _log.info("%s is a stand-in with made-up merges", TOKENIZER.name)
        return "stand-in"
    source = next(source for source in TOKENIZER.sources if isinstance(source, HubFile))
    shutil.copyfile(hub.fetch(source.repo, source.path, source.revision), target)
    return str(source)
