"""SpeciesNet's classifier, translated from the graph inside its own file.

The file was made from a Keras network by tf2onnx and onnx2torch, so its layers are those of an ONNX graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from sightline.errors import CheckpointInvalid
from sightline.networks.builder import GraphBuilder
from sightline.networks.efficientnet import SIDE, EfficientNetV2
from sightline.networks.graph_modules import GraphModule, Translation
from sightline.networks.network import graph_artifacts
from sightline.weights.sources import Artifact, Built, Report

LABELS: Final = 2498
_FEATURES: Final = 1280
_FLOAT: Final = 1  # TensorProto.FLOAT of onnx, which takes a moment to import

# What an EfficientNetV2-M becomes on that way: uneven margins are layers of their own, and each of the 44
# gates is a mean that is squeezed and shaped twice.
OPERATORS: Final[Mapping[str, int]] = {
    "Conv": 245, "Sigmoid": 191, "Mul": 192, "Add": 53, "Reshape": 88, "GlobalAveragePool": 45,
    "Squeeze": 45, "Pad": 5, "Transpose": 1, "MatMul": 1,
}  # fmt: skip


def classifier_artifact(name: str, checkpoint: str) -> Artifact:
    """Return the artifact of the graph, built from the artifact named ``checkpoint``."""

    def build(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
        report(f"convert {name}", 0, 1)
        graph = translated(inputs[checkpoint], OPERATORS, (_FEATURES, LABELS))
        graph.save(output, {"graph": name, "weights": "published"})
        report(f"convert {name}", 1, 1)

    (made_up,) = graph_artifacts(EfficientNetV2(LABELS), checkpoint)
    return replace(made_up, name=name, sources=(Built((checkpoint,), build),))


def translated(path: Path, operators: Mapping[str, int], last: tuple[int, int]) -> GraphBuilder:
    """Return the graph: uint8 ``pixels`` [N, 480, 480, 3] → f32 ``logits`` [N, labels].

    Args:
        path: a GraphModule that reads the same pixels as f32 from 0 to 1.
        operators: how many nodes of each kind it must become.
        last: the shape of its only product of matrices: features and labels.

    Raises:
        CheckpointInvalid: it is another network.
    """
    module = GraphModule.read(path)
    graph = GraphBuilder("classifier")
    pixels = graph.input("pixels", np.uint8, ["batch", SIDE, SIDE, 3])
    levels = graph.add("Div", graph.add("Cast", pixels, to=_FLOAT), np.float32(255))
    translation = Translation(graph, module)
    answer = translation.run(levels)
    if translation.products != [last]:
        found = [list(shape) for shape in translation.products]
        raise CheckpointInvalid(f"{path.name} has another last layer: {found}; expected {list(last)}")
    if translation.operators != operators:
        kind = next(
            each
            for each in {**operators, **translation.operators}
            if translation.operators[each] != operators.get(each, 0)
        )
        raise CheckpointInvalid(
            f"{path.name} is another network: {translation.operators[kind]} nodes {kind}; "
            f"expected {operators.get(kind, 0)}"
        )
    graph.add("Identity", answer, output="logits")
    graph.output("logits", ["batch", last[1]])
    return graph
