"""What models with a CLIP tower inside share: the graph of an image tower and the constants of its pixels.

No model stands here: the families beside it build theirs from this. The numbers are those of the reference
preprocessing (github.com/openai/CLIP, ``clip.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ModelBroken
from sightline.models import Graph, TensorSpec
from sightline.weights.sources import HubFile

IMAGE_SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

VIT_L_14_GRAPH = HubFile(
    "Xenova/clip-vit-large-patch14",
    "onnx/vision_model.onnx",
    "c307790166907339eed5a9a53a249af534102536",
)
VIT_L_14_SHA256 = "ff49f8aa57c7abfd26e382eb083e4dbf988505223a9bd3767dbfd4e729206709"
VIT_L_14_BYTES = 1_216_438_437

Pixels = NDArray[np.uint8]


class ImageGraph:
    """An image tower: squares of pixels to raw vectors.

    Two signatures of graph are accepted: ours, uint8 ``[N, 224, 224, 3]`` that normalises inside, and the
    published one, normalised float32 ``[N, 3, 224, 224]``.

    Raises:
        ModelBroken: the graph has neither.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._input = only_input(graph, "pixel_values")
        self._output = output_index(graph, "image_embeds")
        if self._input.dtype not in ("uint8", "float32") or len(self._input.shape) != 4:
            raise ModelBroken("A CLIP image graph reads uint8 [N, 224, 224, 3] or float32 [N, 3, 224, 224]")

    def run(self, batch: Pixels) -> NDArray[Any]:
        """uint8 [N, 224, 224, 3] to the graph's own floats [N, dimensions], neither normalised nor scaled."""
        pixels: NDArray[Any] = normalise(batch) if self._input.dtype == "float32" else batch
        return self._graph.run({self._input.name: pixels})[self._output]


def normalise(pixels: Pixels) -> NDArray[np.float32]:
    """uint8 [N, H, W, 3] to the float32 [N, 3, H, W] of the reference: ``(pixels / 255 - mean) / std``."""
    scale = 1.0 / (255.0 * np.array(STD))
    offset = -np.array(MEAN) / np.array(STD)
    scaled = pixels * scale.astype(np.float32) + offset.astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def only_input(graph: Graph, usual_name: str, *optional: str) -> TensorSpec:
    """The one input of a graph that is not ``optional``; raises ModelBroken if there are more, or none."""
    specs = [spec for spec in graph.inputs if spec.name not in optional]
    if len(specs) != 1:
        raise ModelBroken(f"A CLIP graph has one input, {usual_name}; this one has {len(specs)}")
    return specs[0]


def output_index(graph: Graph, name: str) -> int:
    """Where the output ``name`` stands, or the only one; raises ModelBroken if it cannot be told."""
    names = [spec.name for spec in graph.outputs]
    if name in names:
        return names.index(name)
    if len(names) != 1:
        raise ModelBroken(f"A CLIP graph has an output {name}; this one has {', '.join(names)}")
    return 0
