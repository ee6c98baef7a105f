"""Made-up networks with the signatures of PP-OCR's three, for rehearsals. What they read means nothing."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase

import numpy as np

from sightline.models.pp_ocr.recogniser import DIRECTION_WIDTH, LINE_HEIGHT
from sightline.networks import GraphBuilder
from sightline.networks.builder import int64
from sightline.weights.sources import Recipe

# Pixels of one step of the recogniser, as in the released one.
_STEP = 8


def detector(output: Path, recipe: Recipe) -> None:
    """Write a graph that takes busy regions for text: float32 ``[N, 3, h, w]`` to ``[N, 1, h, w]``."""
    graph = GraphBuilder("made-up-text-detector")
    grey = graph.add("ReduceMean", graph.input("x", np.float32, ["n", 3, "h", "w"]), int64(1))
    rough = graph.add("Abs", graph.add("Sub", grey, _blurred(graph, grey, 15, 15)))
    busy = graph.add("Sub", _blurred(graph, rough, 9, 31), np.float32(0.2))
    graph.add("Sigmoid", graph.add("Mul", busy, np.float32(40)), output="maps")
    graph.output("maps", ["n", 1, "h", "w"])
    graph.save(output, _metadata(recipe))


def direction(output: Path, recipe: Recipe) -> None:
    """Write a graph that takes every line as upright: float32 ``[N, 3, 48, 192]`` to ``[N, 2]``."""
    graph = GraphBuilder("made-up-direction")
    lines = graph.input("x", np.float32, ["n", 3, LINE_HEIGHT, DIRECTION_WIDTH])
    means = graph.add("Flatten", graph.add("GlobalAveragePool", lines))
    weights = np.zeros((3, 2), np.float32)
    logits = graph.add("Add", graph.add("MatMul", means, weights), np.array([4, 0], np.float32))
    graph.add("Softmax", logits, output="directions", axis=1)
    graph.output("directions", ["n", 2])
    graph.save(output, _metadata(recipe))


def recogniser(output: Path, recipe: Recipe) -> None:
    """Write a graph that reads letters by colour: float32 ``[N, 3, 48, w]`` to ``[N, w / 8, 28]``."""
    graph = GraphBuilder("made-up-recogniser")
    window = [LINE_HEIGHT, _STEP]
    lines = graph.input("x", np.float32, ["n", 3, LINE_HEIGHT, "w"])
    pooled = graph.add("AveragePool", lines, kernel_shape=window, strides=window)
    steps = graph.add("Transpose", graph.add("Squeeze", pooled, int64(2)), perm=[0, 2, 1])
    weights = np.random.default_rng(recipe.seed).normal(0, 8, (3, len(ascii_lowercase) + 2))
    graph.add("Softmax", graph.add("MatMul", steps, weights.astype(np.float32)), output="steps", axis=2)
    graph.output("steps", ["n", "steps", len(ascii_lowercase) + 2])
    graph.save(output, {**_metadata(recipe), "character": "\n".join(ascii_lowercase)})


def _blurred(graph: GraphBuilder, value: str, height: int, width: int) -> str:
    top, left = height // 2, width // 2
    return graph.add(
        "AveragePool", value, kernel_shape=[height, width], pads=[top, left, top, left], count_include_pad=0
    )


def _metadata(recipe: Recipe) -> dict[str, str]:
    return {"weights": "random", "seed": str(recipe.seed), "size": recipe.size}
