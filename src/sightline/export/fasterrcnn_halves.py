"""The two halves of Faster R-CNN, written for inference: same numbers, fewer steps.

Frozen normalisation lies in the convolutions before it, and the two answers about a cell are one product.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.resnet import Bottleneck

from sightline.models.fasterrcnn.detector import MAP_BOXES, MAPS

# As in the files that torch writes here.
_OPSET = 18

# Of an image's side, a map's.
_SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


class Features(nn.Module):  # type: ignore[misc]
    """Normalised f32 ``[1, 3, H, W]``, sides multiples of 32 → maps p2 to p5 and ``cells`` ``[cells, 15]``.

    A cell's numbers are the logits of its three anchors, then four offsets each. Cells are those of all five
    levels, finest first, row by row.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(original.backbone)
        _fuse(self.backbone.body)
        head = original.rpn.head
        self.look = head.conv
        both = (head.cls_logits, head.bbox_pred)
        self.answer = nn.Conv2d(head.cls_logits.in_channels, sum(part.out_channels for part in both), 1)
        self.answer.weight.data = torch.cat([part.weight.data for part in both])
        self.answer.bias.data = torch.cat([part.bias.data for part in both])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = list(self.backbone(image).values())
        cells = [self.answer(self.look(each)).permute(0, 2, 3, 1).flatten(0, 2) for each in maps]
        return *maps[: len(MAPS)], torch.cat(cells)


def _fuse(body: Any) -> None:
    """Every convolution of a ResNet takes over the normalisation behind it."""
    body.conv1, body.bn1 = _fused(body.conv1, body.bn1), nn.Identity()
    for block in body.modules():
        if not isinstance(block, Bottleneck):
            continue
        for number in "123":
            convolution, normalisation = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
            setattr(block, f"conv{number}", _fused(convolution, normalisation))
            setattr(block, f"bn{number}", nn.Identity())
        if block.downsample is not None:
            block.downsample = _fused(*block.downsample)


def _fused(convolution: Any, normalisation: Any) -> Any:
    """In doubles: a variance near zero must not cost digits."""
    fused = copy.deepcopy(convolution)
    numbers = (normalisation.running_mean, normalisation.running_var)
    scales = (normalisation.weight, normalisation.bias)
    weight, bias = fuse_conv_bn_weights(
        convolution.weight.double(),
        None,
        *(each.double() for each in numbers),
        normalisation.eps,
        *(each.double() for each in scales),
    )
    fused.weight, fused.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return fused


def boxes_graph(original: Any) -> onnx.ModelProto:
    """Maps ``[1, C, h, w]`` and boxes ``[n, 4]`` of each → ``logits`` [N, 91] and ``offsets`` [N, 364].

    N counts the boxes of all maps, in the maps' order. Boxes are in pixels of the image.
    """
    heads = original.roi_heads
    pool = heads.box_roi_pool
    layers = {
        "fc6": heads.box_head.fc6,
        "fc7": heads.box_head.fc7,
        "logits": heads.box_predictor.cls_score,
        "offsets": heads.box_predictor.bbox_pred,
    }
    weights = [_constant("zero", np.zeros(1, np.int64)), _constant("one", np.ones(1, np.int64))]
    nodes = []
    for name, boxes, scale in zip(MAPS, MAP_BOXES, _SCALES, strict=True):
        shape, count, image, crop = (f"{name}_{part}" for part in ("shape", "count", "image", "crop"))
        nodes += [
            helper.make_node("Shape", [boxes], [shape]),
            helper.make_node("Slice", [shape, "zero", "one"], [count]),
            # All boxes are of image 0.
            helper.make_node("ConstantOfShape", [count], [image], value=_constant("", np.zeros(1, np.int64))),
            helper.make_node(
                "RoiAlign",
                [name, boxes, image],
                [crop],
                coordinate_transformation_mode="output_half_pixel",  # aligned=False
                output_height=pool.output_size[0],
                output_width=pool.output_size[1],
                sampling_ratio=pool.sampling_ratio,
                spatial_scale=scale,
            ),
        ]
    nodes.append(helper.make_node("Concat", [f"{name}_crop" for name in MAPS], ["crops"], axis=0))
    nodes.append(helper.make_node("Flatten", ["crops"], ["flat"], axis=1))
    for source, name in (("flat", "fc6"), ("fc6_on", "fc7"), ("fc7_on", "logits"), ("fc7_on", "offsets")):
        layer = layers[name]
        weights.append(_constant(f"{name}.weight", layer.weight.detach().numpy()))
        weights.append(_constant(f"{name}.bias", layer.bias.detach().numpy()))
        nodes.append(helper.make_node("Gemm", [source, f"{name}.weight", f"{name}.bias"], [name], transB=1))
        if name.startswith("fc"):
            nodes.append(helper.make_node("Relu", [name], [f"{name}_on"]))
    channels = original.backbone.out_channels
    inputs = [_tensor(name, [1, channels, f"{name}_rows", f"{name}_columns"]) for name in MAPS]
    inputs += [_tensor(boxes, [f"{boxes}_count", 4]) for boxes in MAP_BOXES]
    outputs = [_tensor(name, ["count", layers[name].out_features]) for name in ("logits", "offsets")]
    graph = helper.make_graph(nodes, "boxes", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)


def _constant(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(values, name)


def _tensor(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
