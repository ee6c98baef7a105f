"""Faster R-CNN from torchvision to ``features.onnx`` and ``boxes.onnx``, which leave the choice of boxes out.

The whole model has shapes that depend on what is found, which no exporter writes well; each half has none.
"""

from __future__ import annotations

import hashlib
import logging
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from huggingface_hub import constants
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops.misc import FrozenBatchNorm2d

from sightline.errors import DigestMismatch, ExportFailed, SourceUnreachable, UnknownModel
from sightline.export import Order, onnx_file
from sightline.export.fasterrcnn_halves import Boxes, Features
from sightline.models.fasterrcnn import BOXES, CARD, FEATURES
from sightline.models.fasterrcnn.categories import CATEGORIES
from sightline.models.fasterrcnn.detector import CELLS, CROPS, MAPS, STRIDES, map_levels
from sightline.models.fasterrcnn.pooling import BINS, pool

_log = logging.getLogger(__name__)

_PATIENCE_S = 5.0

# ``FasterRCNN_ResNet50_FPN_Weights.COCO_V1`` of torchvision. The name ends in the first digits of the file's
# sha256: torchvision publishes no more of it.
WEIGHTS_URL: Final = "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
WEIGHTS_DIGEST: Final = "258fb6c6"

# Sides of the images that the files are compared on: multiples of 32, square and not.
_CHECKED_SIZES = ((320, 416), (256, 64))


def export(order: Order) -> None:
    """Write both halves.

    Raises:
        UnknownModel: the family has one model.
        SourceUnreachable, DigestMismatch: the original weights cannot be had.
        ExportFailed: they do not fit the model, or a file does not compute what the original does.
    """
    if order.model != CARD.name:
        raise UnknownModel(f"the fasterrcnn exporter has no {order.model!r}; it has {CARD.name}")
    model = reference(order)
    metadata = {"model": CARD.name, "weights": order.weights}
    if order.weights == "random":
        metadata |= {"seed": str(order.seed), "size": order.size}
    with torch.no_grad():
        _export_features(model, order.output / FEATURES, metadata)
        _export_boxes(model, order.output / BOXES, metadata)


def reference(order: Order) -> Any:
    """torchvision's ``FasterRCNN``, f32, in evaluation mode, frozen normalisation without an epsilon.

    Random weights are scaled so that detections happen. As the library draws them, every box scores 1/91;
    and whatever the scale, all boxes would be of the class that fits the mean of all features best. So the
    last layers are drawn wider, that mean is taken out of them, and the background gets a head start that
    only some boxes overcome.
    """
    if order.weights == "canonical":
        model = _frozen(fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)).eval()
        try:
            model.load_state_dict(torch.load(_fetch(), map_location="cpu", weights_only=True))
        except RuntimeError as error:
            raise ExportFailed(f"the original weights do not fit: {str(error).splitlines()[0]}") from error
        return model
    torch.manual_seed(order.seed)
    built = _tiny() if order.size == "tiny" else fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    model = _frozen(built).eval()
    with torch.no_grad():
        _widen(model)
    return model


def _tiny() -> Any:
    """The same structure with one narrow block per stage and 16 channels in the feature maps."""
    trunk = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=4)
    stages = {f"layer{number + 1}": str(number) for number in range(4)}
    backbone = BackboneWithFPN(trunk, stages, [256, 512, 1024, 2048], 16)
    head = TwoMLPHead(16 * 7 * 7, 64)
    return FasterRCNN(backbone, box_head=head, box_predictor=FastRCNNPredictor(64, len(CATEGORIES)))


def _frozen(module: Any) -> Any:
    """Every batch normalisation replaced by a frozen one, as it is in the model of the published weights.

    Theirs have no epsilon (``overwrite_eps`` in torchvision). The numbers are drawn; published ones overwrite
    them. A block's last one is small, or sixteen blocks in a row would add up to huge features.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            _frozen(child)
            continue
        frozen = FrozenBatchNorm2d(child.num_features, eps=0.0)
        gain = 0.3 if name == "bn3" else 1.0
        frozen.weight.uniform_(0.8 * gain, 1.2 * gain)
        frozen.bias.normal_(0, 0.1)
        frozen.running_mean.normal_(0, 0.1)
        frozen.running_var.uniform_(0.5, 1.5)
        setattr(module, name, frozen)
    return module


def _widen(model: Any) -> None:
    """See :func:`reference`. The spreads were found by trial: scores from 0.05 to 1, in several classes."""
    head, predictor = model.rpn.head, model.roi_heads.box_predictor
    channels = model.backbone.out_channels
    nn.init.normal_(head.conv[0][0].weight, std=1.5 * (9 * channels) ** -0.5)
    nn.init.normal_(head.cls_logits.weight, std=5 * channels**-0.5)
    nn.init.normal_(head.bbox_pred.weight, std=0.5 * channels**-0.5)
    for layer in (model.roi_heads.box_head.fc6, model.roi_heads.box_head.fc7):
        nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)
    nn.init.normal_(predictor.cls_score.weight, std=10 * predictor.cls_score.in_features**-0.5)
    nn.init.normal_(predictor.bbox_pred.weight, std=3 * predictor.bbox_pred.in_features**-0.5)
    looks = _looks_at_clouds(model)
    usual = looks.mean(0) / looks.mean(0).norm()
    for layer in (predictor.cls_score, predictor.bbox_pred):
        layer.weight -= (layer.weight @ usual)[:, None] * usual
    predictor.cls_score.bias[CATEGORIES.index("person")] = 4  # what is asked for most should be found most
    predictor.cls_score.bias[0] = 9


def _looks_at_clouds(model: Any) -> Tensor:
    """What the box head says of 256 boxes on a pattern of clouds, [256, features]."""
    side = 256
    clouds = sum(
        functional.interpolate(torch.rand(1, 3, size, size), size=side, mode="bilinear")
        for size in (4, 16, 64, side)
    )
    corners = torch.rand(side, 2) * 200
    boxes = torch.cat([corners, (corners + 4 + torch.rand(side, 2) * 180).clamp(max=side)], 1)
    return _box_features(model, model.backbone(clouds - 2), boxes, side)


def _box_features(model: Any, maps: Any, boxes: Tensor, side: int) -> Tensor:
    result: Tensor = model.roi_heads.box_head(model.roi_heads.box_roi_pool(maps, [boxes], [(side, side)]))
    return result


def _export_features(model: Any, path: Path, metadata: dict[str, str]) -> None:
    half = Features(model)
    for number, (height, width) in enumerate(_CHECKED_SIZES):
        image = torch.randn(1, 3, height, width)
        if number == 0:
            axes = {"image": {2: "height", 3: "width"}}
            onnx_file.write(half, {"image": image}, axes, (*MAPS, CELLS), path, metadata)
        maps = model.backbone(image)
        logits, offsets = model.rpn.head(list(maps.values()))
        cells = [torch.cat(both, 1).flatten(2)[0].T for both in zip(logits, offsets, strict=True)]
        last = [each.permute(0, 2, 3, 1) for each in list(maps.values())[: len(MAPS)]]
        onnx_file.compare(path, {"image": image}, [*last, torch.cat(cells)])


def _export_boxes(model: Any, path: Path, metadata: dict[str, str]) -> None:
    """Compared through :func:`pool`, on boxes of all sizes, with what torchvision makes of the same maps."""
    side, channels = 1024, model.backbone.out_channels
    maps = {
        name: torch.randn(1, channels, side // stride, side // stride)
        for name, stride in zip(MAPS, STRIDES, strict=True)
    }
    corners = torch.rand(60, 2) * 500
    boxes = torch.cat(
        [corners, corners + torch.logspace(0.5, 2.7, 60)[:, None] * (0.5 + torch.rand(60, 2))], 1
    )
    levels = map_levels(boxes.numpy())
    crops = np.zeros((len(boxes), BINS, BINS, channels), np.float32)
    for level, (cells, stride) in enumerate(zip(maps.values(), STRIDES, strict=True)):
        rows = np.flatnonzero(levels == level)
        pool(cells[0].permute(1, 2, 0).numpy(), boxes.numpy()[rows] / np.float32(stride), crops, rows)
    inputs = {CROPS: torch.from_numpy(crops).flatten(1)}
    onnx_file.write(Boxes(model), inputs, {CROPS: {0: "count"}}, ("logits", "offsets"), path, metadata)
    numbered = {str(number): cells for number, cells in enumerate(maps.values())}
    onnx_file.compare(
        path, inputs, model.roi_heads.box_predictor(_box_features(model, numbered, boxes, side))
    )


def _fetch() -> Path:
    """The published file, from torch's cache of downloads or into it."""
    name = WEIGHTS_URL.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        _require_network(name)
        _log.info("fetching %s", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(WEIGHTS_URL, str(path), WEIGHTS_DIGEST, progress=False)
        except RuntimeError as error:  # only for this; it has removed the file
            raise DigestMismatch(f"{name} did not arrive as published: {WEIGHTS_DIGEST}… expected") from error
        except OSError as error:
            raise SourceUnreachable(f"{name} could not be fetched: {type(error).__name__}") from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(WEIGHTS_DIGEST):
        raise DigestMismatch(
            f"{name} in torch's cache has sha256 {digest[:8]}… and not {WEIGHTS_DIGEST}…; remove it there"
        )
    return path


def _require_network(name: str) -> None:
    """Ask once, with little patience: torch's download has no time-out."""
    # The hub's switch is what `sightline models export` sets for every exporter; torch has none of its own.
    if constants.HF_HUB_OFFLINE:
        raise SourceUnreachable(f"{name} is not in torch's cache of downloads, and this is offline mode")
    request = urllib.request.Request(WEIGHTS_URL, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE_S).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        raise SourceUnreachable(f"{WEIGHTS_URL} answers {error.code}") from None
    except OSError:
        raise SourceUnreachable(
            f"{WEIGHTS_URL.split('/')[2]} does not answer, and {name} is not in torch's cache of downloads"
        ) from None
