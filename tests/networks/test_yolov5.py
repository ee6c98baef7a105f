"""YOLOv5x6: a pickled module like the published one, the rule of decoding, and what made-up weights find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from sightline.errors import CheckpointInvalid
from sightline.models.megadetector import CARD, DETECTOR, load
from sightline.networks import fitted, graph_artifacts
from sightline.networks.drawing import replaced
from sightline.networks.yolov5 import STRIDES, YoloV5x6
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Precision, Settings
from sightline.weights.checkpoints import read_checkpoint
from sightline.weights.sources import Built

TINY = YoloV5x6().tiny()


def test_it_has_the_published_number_of_parameters() -> None:
    """With normalisations inside the convolutions, and without the anchors."""
    tensors = YoloV5x6().tensors
    folded = (".bn.running_mean", ".bn.running_var", ".bn.weight", "anchors")
    assert sum(int(np.prod(s)) for name, s in tensors.items() if not name.endswith(folded)) == CARD.parameters
    assert tensors["model.9.conv.weight"] == (1280, 960, 3, 3)
    assert tensors["model.6.m.11.cv2.conv.weight"] == (320, 320, 3, 3)
    assert tensors["model.33.m.3.weight"] == (24, 1280, 1, 1)


def test_a_pickled_module_in_half_precision(tmp_path: Path, torch_file, arrays_of) -> None:
    """As published: under "model", beside what training leaves behind, counters and older anchors inside."""
    halved = {name: array.astype(np.float16) for name, array in arrays_of(TINY.draw(3)).items()}
    halved["model.33.anchors"] *= 2  # training moves them
    more = {
        "model.0.bn.num_batches_tracked": np.array(7),
        "model.33.anchor_grid": np.zeros((4, 1, 3, 1, 1, 2), np.float32),
    }
    content = {
        "epoch": -1,
        "best_fitness": torch_file.Called(torch_file.Named("numpy.core.multiarray.scalar"), (1,)),
        "model": torch_file.nested({**halved, **more}, "models.yolo.DetectionModel"),
        "ema": None,
        "optimizer": None,
    }
    path = torch_file.save(content, tmp_path / "md.pt")
    tensors = fitted(TINY, read_checkpoint(path))
    for name, array in halved.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array.astype(np.float32), err_msg=name)

    (artifact,) = graph_artifacts(TINY, "md.pt")
    (source,) = artifact.sources
    assert isinstance(source, Built)
    source.build({"md.pt": path}, tmp_path / DETECTOR, lambda *_: None)
    TINY.graphs[DETECTOR](
        replaced(TINY.draw(0), {name: array.astype(np.float32) for name, array in halved.items()})
    ).save(tmp_path / "same.onnx", {"graph": DETECTOR, "weights": "published"})
    assert (tmp_path / DETECTOR).read_bytes() == (tmp_path / "same.onnx").read_bytes()


def test_a_network_of_another_size_is_refused(tmp_path: Path, torch_file, arrays_of) -> None:
    content = {"model": torch_file.nested(arrays_of(TINY.draw(0)), "models.yolo.Model")}
    path = torch_file.save(content, tmp_path / "md.pt")
    (artifact,) = CARD.artifacts[1:]
    assert isinstance(artifact.sources[0], Built)
    with pytest.raises(
        CheckpointInvalid, match=r"model\.0\.conv\.weight .* \[8, 3, 6, 6\]; expected \[80, 3"
    ):
        artifact.sources[0].build({"checkpoint.pt": path}, tmp_path / DETECTOR, lambda *_: None)
    assert not (tmp_path / DETECTOR).exists()


def test_candidates_are_decoded_by_the_published_rule(tmp_path: Path) -> None:
    """One cell's answer, by hand: centre (2σ - ½ + cell) · stride, sides (2σ)² · anchor."""
    logits = np.linspace(-3, 3, 24, dtype=np.float32)
    drawn = TINY.draw(0)
    still = {name: np.zeros_like(drawn[name].numpy()) for name in drawn if name.startswith("model.33.m.")}
    still |= {name: logits for name in still if name.endswith(".bias")}
    TINY.graphs[DETECTOR](replaced(drawn, still)).save(tmp_path / DETECTOR, {})
    graph = Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))(tmp_path / DETECTOR)
    (answer,) = graph.run({"pixels": np.zeros((2, 64, 128, 3), np.uint8)})
    np.testing.assert_array_equal(answer[0], answer[1])
    found = answer[0]
    assert len(found) == 3 * (128 + 32 + 8 + 2)
    shares = 1 / (1 + np.exp(-logits.reshape(3, 8)))
    # Second level, third anchor, row 2, column 5.
    row = found[3 * 128 + 2 * 32 + 2 * 8 + 5]
    x, y, w, h = shares[2, :4].tolist()
    width, height = (drawn["model.33.anchors"].numpy()[1, 2] * STRIDES[1]).tolist()
    wanted = [(2 * x - 0.5 + 5) * 16, (2 * y - 0.5 + 2) * 16, (2 * w) ** 2 * width, (2 * h) ** 2 * height]
    assert row[:4].tolist() == pytest.approx(wanted, rel=1e-5)
    assert row[4:].tolist() == pytest.approx(shares[2, 4:].tolist(), rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_made_up_weights_find_things(seed: int, tmp_path: Path, view_of) -> None:
    TINY.graphs[DETECTOR](TINY.draw(seed)).save(tmp_path / DETECTOR, {})
    answers = []
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        graphs = Graphs(Settings(graph_runtime=runtime, precision=Precision.F32))
        model = load({DETECTOR: tmp_path / DETECTOR}, graphs)
        items = [model.prepare(view_of(pixels)) for pixels in (data.astronaut(), data.coffee())]
        answers.append(model.infer(items))
    for one, other in zip(*answers, strict=True):
        assert 1 <= len(one) <= 300
        assert len({thing.label for thing in one}) > 1
        assert one[0].score > 0.2
        for ours, theirs in zip(one[:20], other[:20], strict=True):
            assert ours.score == pytest.approx(theirs.score, abs=1e-3)
    assert answers[0][0] != answers[0][1]
