"""Models of the reference libraries with the made-up numbers that ours have."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnx2torch
import torch
import transformers
from safetensors.numpy import save_file
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops.misc import FrozenBatchNorm2d

from bench.yolov5x6 import YoloV5x6 as TorchYoloV5x6
from sightline.models import blip, clip_backbone, dinov2
from sightline.networks import Network
from sightline.networks.dinov2 import Dinov2
from sightline.networks.efficientnet import SIDE, EfficientNetV2
from sightline.networks.fasterrcnn import FasterRcnn
from sightline.networks.speciesnet import LABELS
from sightline.networks.transformer import Pixels
from sightline.networks.yolov5 import YoloV5x6


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


def _original(kind: Any, configuration: Any, network: Network, seed: int) -> Any:
    """Loaded as the library loads a checkpoint, which knows names of other ages."""
    with tempfile.TemporaryDirectory() as folder:
        tensors = {name: tensor.numpy() for name, tensor in network.draw(seed).items()}
        save_file(tensors, Path(folder) / "model.safetensors", {"format": "pt"})
        configuration.save_pretrained(folder)
        return kind.from_pretrained(folder, dtype=torch.float32).eval()
