"""BLIP from the transformers library to ``vision.onnx``, ``decoder.onnx`` and ``tokenizer.json``."""

from __future__ import annotations

import logging
import shutil
from typing import Any

import torch
from torch import Tensor
from transformers import BlipConfig, BlipForConditionalGeneration

from sightline.errors import UnknownModel
from sightline.export import Order, hub, onnx_file
from sightline.export.blip_towers import DecoderStep, VisionTower
from sightline.models.blip import CHECKPOINTS, SQUARE, TOKENIZER, Checkpoint
from sightline.models.blip.captioner import BEGIN_TOKEN, END_TOKEN, VOCABULARY_SIZE
from sightline.models.blip.vocabulary import stand_in
from sightline.weights.sources import HubFile

_log = logging.getLogger(__name__)

# Shapes of the published configurations. The library's own default of 8 heads for texts fits no checkpoint
# (github.com/huggingface/transformers/issues/22625).
_TEXT = {"num_attention_heads": 12}
_VISION: dict[str, dict[str, int]] = {
    "blip-base": {},
    "blip-large": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
}
_TINY = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}

# Standard deviation of the weights as the library draws them, and of the logits as they are wanted. The best
# word of 30524 then has a probability of about a third.
_STD = 0.02
_LOGIT_STD = 4.4
_END_BONUS = 15.0

# A number that hides an attention score; what the captioner adds may be any such.
_HIDDEN = -1e4


def export(order: Order) -> None:
    """Write the artifacts of one of the two BLIP captioners.

    Raises:
        UnknownModel: the family has no model of that name.
        SourceUnreachable, SourceMissing: the original weights cannot be had.
        ExportFailed: a file does not compute what the original does.
    """
    checkpoint = next((each for each in CHECKPOINTS if each.name == order.model), None)
    if checkpoint is None:
        names = ", ".join(each.name for each in CHECKPOINTS)
        raise UnknownModel(f"the blip exporter has no {order.model!r}; it has {names}")
    model = reference(checkpoint, order)
    metadata = {"model": checkpoint.name, "weights": order.weights, "tokenizer": _write_tokenizer(order)}
    if order.weights == "random":
        metadata |= {"seed": str(order.seed), "size": order.size}
    with torch.no_grad():
        _export_vision(model, order, metadata)
        _export_decoder(model, order, metadata)


def reference(checkpoint: Checkpoint, order: Order) -> Any:
    """The original in the transformers library, f32, in evaluation mode."""
    if order.weights == "canonical":
        return hub.load(BlipForConditionalGeneration, checkpoint.repo, checkpoint.revision)
    text: dict[str, Any] = dict(_TEXT)
    vision: dict[str, Any] = dict(_VISION[checkpoint.name])
    if order.size == "tiny":
        # Pictures keep a width of their own where the real ones have it.
        text, vision = dict(_TINY), {**_TINY, "hidden_size": 96 if vision else _TINY["hidden_size"]}
    torch.manual_seed(order.seed)
    configuration = BlipConfig(
        text_config={"vocab_size": VOCABULARY_SIZE, **text},
        vision_config={"image_size": SQUARE.size, "initializer_range": _STD, **vision},
    )
    model = BlipForConditionalGeneration(configuration).eval()
    _enliven(model)
    return model


def _enliven(model: Any) -> None:
    """Give random weights the behaviour of a captioner.

    As drawn, all words are about equally likely, and a caption ends once in 30,000 tokens. Larger logits make
    a few words likely, so that beams part and meet again; the end token's bonus ends about half of the
    captions within 30 tokens.
    """
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases start at 0 and norms at 1, which would hide a mistake with them
            parameter.data += _STD * torch.randn_like(parameter)
    head = model.text_decoder.cls.predictions
    # A logit is the product of a normalised vector and a word's, of which each number has this deviation.
    head.transform.LayerNorm.weight.data *= _LOGIT_STD / (_STD * head.decoder.in_features**0.5)
    head.bias.data[END_TOKEN] += _END_BONUS


def _export_vision(model: Any, order: Order, metadata: dict[str, str]) -> None:
    path = order.output / "vision.onnx"
    pixels = torch.randint(0, 256, (2, SQUARE.size, SQUARE.size, 3), dtype=torch.uint8)
    seen = model.vision_model(pixel_values=torch.from_numpy(SQUARE.normalise(pixels.numpy())))[0]
    cross = [layer.crossattention.self for layer in model.text_decoder.bert.encoder.layer]
    parts = [each.key(seen) for each in cross] + [each.value(seen) for each in cross]
    heads = cross[0].num_attention_heads
    expected = torch.stack([part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts])
    onnx_file.write(
        VisionTower(model), {"pixels": pixels}, {"pixels": {0: "pictures"}}, "picture", path, metadata
    )
    onnx_file.compare(path, {"pixels": pixels}, expected)


def _export_decoder(model: Any, order: Order, metadata: dict[str, str]) -> None:
    path = order.output / "decoder.onnx"
    inputs, expected = _a_step(model, pictures=2, beams=3, length=5)
    free = {
        "ids": {0: "pictures", 1: "beams"},
        "hidden": {0: "pictures", 1: "beams", 2: "slots"},
        "past": {1: "pictures", 3: "slots"},
        "picture": {1: "pictures"},
    }
    onnx_file.write(DecoderStep(model), inputs, free, ("logits", "states"), path, metadata)
    onnx_file.compare(path, inputs, expected)
    onnx_file.compare(path, *_a_step(model, pictures=1, beams=1, length=2))


def _a_step(model: Any, pictures: int, beams: int, length: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What the decoder gets and gives at the last of ``length`` tokens, all of it from the original."""
    configuration = model.config
    patches = (configuration.vision_config.image_size // configuration.vision_config.patch_size) ** 2
    seen = torch.randn(pictures, 1 + patches, configuration.vision_config.hidden_size)
    ids = torch.randint(1000, BEGIN_TOKEN, (pictures * beams, length))
    ids[:, 0] = BEGIN_TOKEN
    answer = model.text_decoder(
        input_ids=ids, encoder_hidden_states=seen.repeat_interleave(beams, 0), use_cache=True
    )
    own, cross = answer.past_key_values.self_attention_cache, answer.past_key_values.cross_attention_cache
    # [2 · layers, pictures, beams, heads, tokens, head width] of both
    tokens, patches_seen = (
        torch.stack(
            [layer.keys for layer in cache.layers] + [layer.values for layer in cache.layers]
        ).unflatten(1, (pictures, beams))
        for cache in (own, cross)
    )
    before = tokens[..., :-1, :].transpose(2, 3).flatten(3, 4)  # the slots of one beam, then of the next
    line = torch.arange(beams).repeat_interleave(length - 1)
    hidden = torch.where(line == torch.arange(beams)[:, None], 0.0, _HIDDEN)
    inputs = {
        "ids": ids[:, -1].reshape(pictures, beams),
        "position": torch.tensor([length - 1]),
        "hidden": hidden.expand(pictures, -1, -1).contiguous(),
        "past": before.contiguous(),
        "picture": patches_seen[:, :, 0].contiguous(),
    }
    logits = answer.logits[:, -1].unflatten(0, (pictures, beams))
    return inputs, [logits, tokens[..., -1, :].transpose(2, 3)]


def _write_tokenizer(order: Order) -> str:
    target = order.output / TOKENIZER.name
    if order.weights == "random":
        stand_in().save(str(target), pretty=False)
        _log.info("%s is a stand-in with made-up words", TOKENIZER.name)
        return "stand-in"
    source = next(source for source in TOKENIZER.sources if isinstance(source, HubFile))
    shutil.copyfile(hub.fetch(source.repo, source.path, source.revision), target)
    return str(source)
