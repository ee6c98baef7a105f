from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from sightline.capabilities.detection import FACE_BOXES
from sightline.imaging import View
from sightline.models import TensorSpec, catalogue
from sightline.models.mtcnn import cascade, load
from sightline.models.mtcnn.cascade import FaceCascade
from sightline.models.mtcnn.geometry import GRID
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Settings
from sightline.types import Detection

Pixels = NDArray[np.uint8]
MakeView = Callable[[Pixels], View]


def detect(detector: FaceCascade, *views: View) -> list[list[Detection]]:
    return detector.infer([detector.prepare(view) for view in views])


def corners(face: Detection) -> list[float]:
    return [face.box.x_min, face.box.y_min, face.box.x_max, face.box.y_max]


def test_it_is_found_by_its_capability() -> None:
    card = catalogue()["mtcnn"].card
    assert card.capabilities == {FACE_BOXES}
    assert card.licence == "MIT"


def test_one_face_with_its_landmarks(detector: FaceCascade, make_view: MakeView, astronaut: Pixels) -> None:
    """The figures are facenet-pytorch's for this picture."""
    ((face,),) = detect(detector, make_view(astronaut))
    assert corners(face) == pytest.approx([181.05, 62.16, 267.75, 172.05], abs=0.02)
    assert face.score == pytest.approx(0.999998, abs=1e-5)
    assert face.label == "face"
    expected = [(205.01, 101.73), (246.76, 103.71), (224.67, 128.96), (201.72, 139.25), (245.27, 141.86)]
    assert np.array(face.landmarks) == pytest.approx(np.array(expected), abs=0.02)


def test_plain_python_numbers_come_out(detector: FaceCascade, make_view: MakeView, astronaut: Pixels) -> None:
    ((face,),) = detect(detector, make_view(astronaut))
    assert {type(value) for value in (*corners(face), face.score, *face.landmarks[0])} == {float}


@pytest.mark.parametrize("picture", ["coffee", "rocket"])
def test_no_face_is_an_empty_list(picture: str, detector: FaceCascade, make_view: MakeView) -> None:
    pixels = {"coffee": data.coffee, "rocket": data.rocket}[picture]()
    assert detect(detector, make_view(pixels)) == [[]]


@pytest.mark.parametrize("shape", [(1, 1), (19, 300), (300, 19), (20, 20), (21, 400), (400, 23)])
def test_tiny_and_thin_pictures(shape: tuple[int, int], detector: FaceCascade, make_view: MakeView) -> None:
    assert detect(detector, make_view(np.full((*shape, 3), 128, np.uint8))) == [[]]


def test_a_face_cut_by_the_edge_may_reach_past_it(
    detector: FaceCascade, make_view: MakeView, astronaut: Pixels
) -> None:
    ((face,),) = detect(detector, make_view(astronaut[75:300, 190:400]))
    assert face.box.x_min < 0


def test_most_probable_face_first(detector: FaceCascade, make_view: MakeView, astronaut: Pixels) -> None:
    small = astronaut[::2, ::2]
    pixels = np.vstack([np.hstack([astronaut, astronaut[:, ::-1]]), np.hstack([small] * 4)])
    (faces,) = detect(detector, make_view(pixels))
    assert len(faces) >= 5
    keys = [(-face.score, -face.box.width * face.box.height) for face in faces]
    assert keys == sorted(keys)


def test_a_batch_answers_like_its_items_alone(
    detector: FaceCascade, make_view: MakeView, astronaut: Pixels
) -> None:
    views = [
        make_view(pixels)
        for pixels in (
            astronaut,
            data.coffee(),
            astronaut[40:200, 150:300],
            np.zeros((10, 10, 3), np.uint8),
            np.ascontiguousarray(astronaut[:, ::-1]),
            np.hstack([astronaut[:256], astronaut[:256]]),
        )
    ]
    alone = [detect(detector, view)[0] for view in views]
    assert [len(faces) for faces in alone] == [1, 0, 1, 0, 1, 2]
    assert detect(detector, *views) == alone
    assert detect(detector, *views[::-1]) == alone[::-1]


def test_tables_made_late_and_in_turns_change_nothing(
    detector: FaceCascade, make_view: MakeView, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [make_view(astronaut), make_view(astronaut[:300]), make_view(astronaut[:, 100:])]
    expected = detect(detector, *views)
    monkeypatch.setattr(cascade, "_EARLY_TABLE_BYTES", 0)
    monkeypatch.setattr(cascade, "_TABLES_AT_ONCE_BYTES", 5_000_000)
    items = [detector.prepare(view) for view in views]
    assert all(item.sums is None for item in items)
    assert detector.infer(items) == expected


def test_nothing_in_nothing_out(detector: FaceCascade) -> None:
    assert detector.infer([]) == []


def test_both_runtimes_agree(
    detector: FaceCascade, files: Mapping[str, Path], make_view: MakeView, astronaut: Pixels
) -> None:
    other = load(files, Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME, threads=2)))
    view = make_view(np.hstack([astronaut, astronaut[:, ::-1]]))
    for one, two in zip(detect(detector, view)[0], detect(other, view)[0], strict=True):
        assert corners(one) == pytest.approx(corners(two), abs=0.01)
        assert one.score == pytest.approx(two.score, abs=1e-5)


class Constant:
    """A graph that gives one answer to everything."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, answer: NDArray[np.float32]) -> None:
        self._answer = answer

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [self._answer.copy()]


@pytest.mark.parametrize("away", [-30.0, 30.0])
def test_candidates_that_leave_the_picture_are_dropped(away: float, make_view: MakeView) -> None:
    propose = np.zeros((1, 5, GRID, GRID), np.float32)
    propose[0, 0] = 5
    propose[0, 1:] = away
    sure = np.full((32, 15), 5, np.float32)
    graphs = Constant(propose), Constant(sure[:, :5]), Constant(sure[:8])
    pixels = np.zeros((100, 100, 3), np.uint8)
    assert detect(FaceCascade(*graphs), make_view(pixels)) == [[]]
