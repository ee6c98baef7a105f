"""Faster R-CNN: names of two ages, folding, and what made-up weights find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from sightline.capabilities.detection import PERSON
from sightline.models.fasterrcnn import BOXES, CARD, FEATURES, load
from sightline.networks import fitted
from sightline.networks.drawing import replaced
from sightline.networks.fasterrcnn import FasterRcnn
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Precision, Settings
from sightline.weights.tensors import Checkpoint

TINY = FasterRcnn().tiny()


def written(tensors: Checkpoint, folder: Path) -> dict[str, Path]:
    for name, build in TINY.graphs.items():
        build(tensors).save(folder / name, {})
    return {name: folder / name for name in TINY.graphs}


def of_today(name: str) -> str:
    """What torchvision calls a tensor now."""
    if name.startswith("backbone.fpn."):
        head, _, part = name.rpartition(".")
        return f"{head}.0.{part}"
    return name.replace("rpn.head.conv.", "rpn.head.conv.0.0.")


def test_it_has_the_published_tensors() -> None:
    tensors = FasterRcnn().tensors
    assert len(tensors) == 295
    frozen = sum(np.prod(shape) for name, shape in tensors.items() if ".running_" in name)
    assert sum(int(np.prod(shape)) for shape in tensors.values()) - 2 * frozen == CARD.parameters
    assert tensors["backbone.body.layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert tensors["backbone.body.layer2.0.downsample.1.running_var"] == (512,)
    assert tensors["roi_heads.box_head.fc6.weight"] == (1024, 12544)


def test_names_of_both_ages_are_read() -> None:
    drawn = TINY.draw(0)
    today = {of_today(name): tensor for name, tensor in drawn.items()}
    assert "backbone.fpn.inner_blocks.3.0.bias" in today
    assert "rpn.head.conv.0.0.weight" in today
    for given in (drawn, today):
        assert list(fitted(TINY, given)) == list(drawn)


def test_a_variance_near_zero_costs_no_digits(tmp_path: Path) -> None:
    """No epsilon: a scale that a tiny variance makes huge is exact."""
    drawn = TINY.draw(1)
    variance = drawn["backbone.body.bn1.running_var"].numpy().copy()
    scale = drawn["backbone.body.bn1.weight"].numpy().copy()
    smaller = replaced(
        drawn,
        {
            "backbone.body.bn1.running_var": variance * np.float32(2**-40),
            "backbone.body.bn1.weight": scale * np.float32(2**-20),
        },
    )
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 96)).astype(np.float32)
    answers = []
    for number, tensors in enumerate((drawn, smaller)):
        folder = tmp_path / str(number)
        folder.mkdir()
        graphs = Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))
        answers.append(graphs(written(tensors, folder)[FEATURES]).run({"image": image}))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_made_up_weights_find_persons_and_other_things(seed: int, tmp_path: Path, view_of) -> None:
    files = written(TINY.draw(seed), tmp_path)
    found = {}
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        model = load(files, Graphs(Settings(graph_runtime=runtime, precision=Precision.F32)))
        items = [model.prepare(view_of(pixels)) for pixels in (data.astronaut(), data.coffee())]
        found[runtime] = model.infer(items)
    labels = [{thing.label for thing in each} for each in found[GraphRuntime.OPENVINO]]
    assert all(1 <= len(each) <= 100 for each in found[GraphRuntime.OPENVINO])
    assert PERSON in labels[0] | labels[1]
    assert min(len(each) for each in labels) > 1
    assert found[GraphRuntime.OPENVINO][0] != found[GraphRuntime.OPENVINO][1]
    for one, other in zip(*found.values(), strict=True):
        for ours, theirs in zip(one[:10], other[:10], strict=True):
            assert ours.score == pytest.approx(theirs.score, abs=1e-3)
    assert set(files) == {BOXES, FEATURES}
