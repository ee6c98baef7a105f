"""The two halves of Faster R-CNN, written for inference: same numbers, fewer steps.

Frozen normalisation lies in the convolutions before it, the two answers about a cell are one product, and
maps and crops have their channels last, as they are computed and pooled.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.resnet import Bottleneck

from sightline.models.fasterrcnn.detector import MAPS


class Features(nn.Module):  # type: ignore[misc]
    """Normalised f32 ``[1, 3, H, W]``, sides multiples of 32 → maps p2 to p5, and ``cells``.

    Maps are ``[1, h, w, C]``, cells ``[n, 15]``: those of all five levels, finest first, row by row. A cell's
    numbers are the logits of its three anchors, then four offsets each.
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
        return *(each.permute(0, 2, 3, 1) for each in maps[: len(MAPS)]), torch.cat(cells)


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


class Boxes(nn.Module):  # type: ignore[misc]
    """Pooled crops f32 ``[N, 7 * 7 * C]``, channels last → ``logits`` [N, 91] and ``offsets`` [N, 364]."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        heads = original.roi_heads
        self.fc6, self.fc7 = copy.deepcopy(heads.box_head.fc6), heads.box_head.fc7
        self.logits, self.offsets = heads.box_predictor.cls_score, heads.box_predictor.bbox_pred
        bins = heads.box_roi_pool.output_size
        weight = self.fc6.weight.data.unflatten(1, (-1, *bins))
        self.fc6.weight.data = weight.permute(0, 2, 3, 1).flatten(1).contiguous()

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        features = self.fc7(self.fc6(crops).relu()).relu()
        return self.logits(features), self.offsets(features)
