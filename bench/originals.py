"""The reference libraries' networks with the same made-up numbers as ours, in f32 and evaluation mode."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnx2torch
import torch
from safetensors.torch import save_file
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops.misc import FrozenBatchNorm2d
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)

from bench.yolov5x6 import YoloV5x6 as TorchYoloV5x6
from sightline.models import blip, clip
from sightline.models.blip.captioner import VOCABULARY_SIZE
from sightline.models.dinov2 import DIMENSIONS
from sightline.networks.clip import ClipImage
from sightline.networks.dinov2 import Dinov2
from sightline.networks.efficientnet import SIDE, EfficientNetV2
from sightline.networks.fasterrcnn import FasterRcnn
from sightline.networks.network import Network
from sightline.networks.speciesnet import LABELS
from sightline.networks.transformer import Pixels
from sightline.networks.yolov5 import YoloV5x6


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


def fasterrcnn(seed: int) -> Any:
    """torchvision's detector. Its published weights are for normalisations without an epsilon."""
    model = _frozen(fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None))
    model.load_state_dict(drawn(FasterRcnn(), seed))
    return model.eval()


def _frozen(module: Any) -> Any:
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=0.0))
        else:
            _frozen(child)
    return module


def megadetector(seed: int) -> Any:
    """YOLOv5x6 with its normalisations apart."""
    model = TorchYoloV5x6()
    counters = {name: each for name, each in model.state_dict().items() if "num_batches" in name}
    model.load_state_dict({**drawn(YoloV5x6(), seed), **counters})
    return model.eval()


def speciesnet(seed: int) -> Any:
    """A GraphModule of onnx2torch layers, as published: reads [N, 480, 480, 3] from 0 to 1."""
    network = EfficientNetV2(LABELS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classifier.onnx"
        network.graphs[path.name](network.draw(seed)).save(path, {})
        model = onnx.load(path)
    cast, divided, *_ = model.graph.node
    assert (cast.op_type, divided.op_type) == ("Cast", "Div")
    (follower,) = (node for node in model.graph.node if divided.output[0] in node.input)
    follower.input[0] = "input"
    del model.graph.node[:2], model.graph.input[:]
    shape = ["batch", SIDE, SIDE, 3]
    model.graph.input.append(onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape))
    model.opset_import[0].version = 13  # what tf2onnx writes and onnx2torch knows
    return onnx2torch.convert(model).eval()


def drawn(network: Network, seed: int) -> dict[str, torch.Tensor]:
    """The network's made-up numbers by their published names."""
    return {name: torch.tensor(tensor.numpy()) for name, tensor in network.draw(seed).items()}


def _loaded(kind: Any, configuration: Any, network: Network, seed: int) -> Any:
    """Through a file: the library translates published names when it reads one."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(drawn(network, seed), Path(folder) / "model.safetensors", {"format": "pt"})
        configuration.save_pretrained(folder)
        return kind.from_pretrained(folder).eval()
