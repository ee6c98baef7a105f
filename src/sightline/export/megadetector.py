"""MegaDetector v5a from its published checkpoint to ``detector.onnx``.

The checkpoint is a pickle of the modules it was trained with. None of that code is needed or run: the numbers
are read out of it and put into a definition of the network of our own.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from sightline.errors import ExportFailed, UnknownModel
from sightline.export import Order, clouds, downloads, onnx_file
from sightline.export.pickled_modules import read_state
from sightline.export.yolov5x6 import FULL, OUTPUTS, TINY, YoloV5x6
from sightline.models.megadetector import CARD, DETECTOR
from sightline.models.megadetector.letterbox import STEP

TAKES_FILES: Final = True

# The same network and training: 0.0.1 was saved anew for newer versions of torch.
_RELEASE: Final = "https://github.com/agentmorris/MegaDetector/releases/download"
CHECKPOINTS: Final = (f"{_RELEASE}/v5.0/md_v5a.0.0.pt", f"{_RELEASE}/v5.0/md_v5a.0.1.pt")

# Sides of the images that the file is compared on.
_CHECKED_SIZES: Final = ((192, 256), (128, 64))


class Detector(nn.Module):  # type: ignore[misc]
    """uint8 ``[N, H, W, 3]`` → f32 ``[N, candidates, 8]``."""

    def __init__(self, network: YoloV5x6) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.network(pixels.permute(0, 3, 1, 2).float() / 255)
        return found


def export(order: Order) -> None:
    """Write the detector.

    Raises:
        UnknownModel: the family has one model.
        SourceUnreachable, SourceMissing, DigestMismatch: the checkpoint cannot be had.
        ExportFailed: it does not fit the network, or the file does not compute what the original does.
    """
    if order.model != CARD.name:
        raise UnknownModel(f"the megadetector exporter has no {order.model!r}; it has {CARD.name}")
    original = reference(order)
    fused = _fused(original)
    metadata = {"model": CARD.name, "weights": order.weights}
    if order.weights == "random":
        metadata |= {"seed": str(order.seed), "size": order.size}
    path = order.output / DETECTOR
    with torch.no_grad():
        for number, (height, width) in enumerate(_CHECKED_SIZES):
            pixels = (
                (clouds.draw(2, 256)[:, :, :height, :width] * 255).byte().permute(0, 2, 3, 1).contiguous()
            )
            if number == 0:
                free = {"pixels": {0: "batch", 1: "height", 2: "width"}}
                multiples = {"height": STEP, "width": STEP}
                onnx_file.write(
                    Detector(fused), {"pixels": pixels}, free, "candidates", path, metadata, multiples
                )
            onnx_file.compare(path, {"pixels": pixels}, Detector(original)(pixels))


def reference(order: Order) -> YoloV5x6:
    """The network in f32, in evaluation mode, its normalisations apart.

    Random weights are such that some hundred candidates of a photo pass the lowest threshold and a few the
    highest: see :func:`_settle_answers`.
    """
    if order.weights == "canonical":
        path = _checkpoint(order)
        return _filled(read_state(path, "model"), path.name)
    torch.manual_seed(order.seed)
    network = YoloV5x6(TINY if order.size == "tiny" else FULL)
    sky = clouds.draw(6, 192)
    clouds.settle(network, sky, network)
    with torch.no_grad():
        _settle_answers(network, sky)
    network.eval()
    return network


def _fused(original: YoloV5x6) -> YoloV5x6:
    """The same with normalisations inside the convolutions before them, as it is written."""
    fused = copy.deepcopy(original)
    fused.fuse()
    return fused


def _checkpoint(order: Order) -> Path:
    """The user's file, or the only ``md_v5a*.pt`` of the user's folder, or the published one."""
    path = order.source
    if path is None:
        path = downloads.fetch_any(CHECKPOINTS)
    elif path.is_dir():
        found = sorted(path.glob("md_v5a*.pt"))
        if len(found) != 1:
            raise ExportFailed(f"the folder must hold one md_v5a*.pt; it holds {len(found)}")
        (path,) = found
    if not path.is_file():
        raise ExportFailed(f"there is no file {path.name}")
    if order.trusted_sha256:
        downloads.require_digest(path.read_bytes(), order.trusted_sha256, path.name)
    return path


def _filled(state: dict[str, Tensor], name: str) -> YoloV5x6:
    network = YoloV5x6()
    # Older checkpoints keep the anchors a second time, in pixels.
    state = {key: value for key, value in state.items() if not key.endswith(".anchor_grid")}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ExportFailed(
            f"{name} is no YOLOv5x6 of three classes: {str(error).splitlines()[1].strip()}"
        ) from error
    network.eval()
    return network


def _settle_answers(network: YoloV5x6, sky: Tensor) -> None:
    """Give every answer of the last layer a mean and a spread over the sky: logits of anything are low and
    vary a lot, those of classes vary, centres and sides stay near the anchor's."""
    wanted_mean = torch.zeros(OUTPUTS)
    wanted_spread = torch.tensor([1.0, 1.0, 0.5, 0.5, 3.8, 3.0, 3.0, 3.0])
    wanted_mean[4] = -10.0
    maps: list[Tensor] = []
    head = network.model[-1]
    handle = head.register_forward_pre_hook(lambda _, inputs: maps.extend(inputs[0]))
    network.eval()(sky)
    handle.remove()
    for layer, level in zip(head.m, maps, strict=True):
        answers = layer(level).transpose(0, 1).flatten(1)  # [24, pixels]
        times = answers.shape[0] // OUTPUTS
        gain = wanted_spread.repeat(times) / answers.std(1).clamp(min=1e-6)
        layer.weight *= gain[:, None, None, None]
        layer.bias.copy_(wanted_mean.repeat(times) - (answers.mean(1) - layer.bias) * gain)
