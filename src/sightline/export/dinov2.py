"""DINOv2 from the transformers library to ``image.onnx``, for one size of input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from sightline.errors import ExportFailed, UnknownModel
from sightline.export import Order, hub, onnx_file
from sightline.export.vision_transformer import Attention, Patches, Pick, every, first
from sightline.models.dinov2 import GRAPH_NAME, VARIANTS, Variant

REPO = "facebook/dinov2-base"
REVISION = "f9e44c814b77203eaa57a6bdbbd535f21ede1415"

# config.json of the repository, where it is not the library's default.
_FULL: dict[str, int] = {"image_size": 518, "patch_size": 14}
# As wide as the full one: its width is the length of its answer.
_TINY = {"num_hidden_layers": 2, "mlp_ratio": 1}


def export(order: Order) -> None:
    """Write the graph of one of the two DINOv2 models.

    Raises:
        UnknownModel: the family has no model of that name.
        SourceUnreachable, SourceMissing: the original weights cannot be had.
        ExportFailed: the checkpoint is another network, or the file does not compute what the original does.
    """
    variant = next((variant for variant in VARIANTS if variant.name == order.model), None)
    if variant is None:
        names = ", ".join(variant.name for variant in VARIANTS)
        raise UnknownModel(f"the dinov2 exporter has no {order.model!r}; it has {names}")
    model = reference(order)
    metadata = {"model": variant.name, "weights": order.weights}
    if order.weights == "random":
        metadata |= {"seed": str(order.seed), "size": order.size}
    square, path = variant.square, order.output / GRAPH_NAME
    pixels = torch.randint(0, 256, (2, square.size, square.size, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(square.normalise(pixels.numpy()))).pooler_output
        network = Network(model, variant)
        onnx_file.write(network, {"pixels": pixels}, {"pixels": {0: "batch"}}, "image_embeds", path, metadata)
        onnx_file.compare(path, {"pixels": pixels}, expected)


def reference(order: Order) -> Any:
    """The original in the transformers library, f32, in evaluation mode."""
    if order.weights == "canonical":
        model = hub.load(Dinov2Model, REPO, REVISION)
        if model.config.hidden_act != "gelu" or model.config.use_swiglu_ffn:
            raise ExportFailed(f"{REPO} is not the network this exporter knows")
        return model
    torch.manual_seed(order.seed)
    model = Dinov2Model(Dinov2Config(**_FULL, **(_TINY if order.size == "tiny" else {}))).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases start at 0, norms and layer scales at 1, which would hide mistakes
            parameter.data += 0.02 * torch.randn_like(parameter)
    return model


class Block(nn.Module):  # type: ignore[misc]
    """One transformer block, the layer scales in the weights before them; only the picked tokens come out."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        attention = original.attention
        self.attention = Attention(
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            _scaled(attention.o_proj, original.layer_scale1.lambda1.data),
            attention.num_attention_heads,
        )
        self.before_attention = original.norm1
        self.before_mlp = original.norm2
        self.up = original.mlp.fc1
        self.down = _scaled(original.mlp.fc2, original.layer_scale2.lambda1.data)

    def forward(self, tokens: Tensor, pick: Pick = every) -> Tensor:
        tokens = pick(tokens) + self.attention(self.before_attention(tokens), pick)
        result: Tensor = tokens + self.down(nn.functional.gelu(self.up(self.before_mlp(tokens))))
        return result


class Network(nn.Module):  # type: ignore[misc]
    """uint8 [N, size, size, 3] → ``image_embeds`` [N, 768], the class token after the last layer norm.

    The position embedding is interpolated here, once, by the original's own rule. The last block is computed
    only for the class token.
    """

    def __init__(self, original: Any, variant: Variant) -> None:
        super().__init__()
        embeddings, size = original.embeddings, variant.square.size
        convolution = embeddings.patch_embeddings.projection
        tokens = 1 + (size // convolution.kernel_size[0]) ** 2
        self.patches = Patches(
            variant.square,
            kernel=convolution.weight.data,
            bias=convolution.bias.data,
            class_token=embeddings.cls_token.data[0, 0],
            positions=embeddings.interpolate_pos_encoding(
                torch.empty(1, tokens, convolution.out_channels), size, size
            ).detach()[0],
        )
        self.blocks = nn.ModuleList(Block(layer) for layer in original.encoder.layer)
        self.after = original.layernorm

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        result: Tensor = self.after(self.blocks[-1](tokens, first).flatten(1))
        return result


def _scaled(linear: nn.Linear, scale: Tensor) -> nn.Linear:
    """``scale · linear(x)`` as one layer. ``scale`` [out_features]."""
    scaled = nn.Linear(linear.in_features, linear.out_features)
    scaled.weight.data = linear.weight.data * scale[:, None]
    scaled.bias.data = linear.bias.data * scale
    return scaled
