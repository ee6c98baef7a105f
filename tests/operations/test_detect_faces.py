from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sightline.capabilities import Capability
from sightline.capabilities.detection import FACE_BOXES
from sightline.operations import Answer
from sightline.operations.detect_faces import DetectFaces
from sightline.types import Box, Detection, FaceContext, ModelRef, Provenance

MODEL = ModelRef("mtcnn", "fingerprint", Provenance.PULLED)
FACES = [
    Detection(Box(-0.9, 3.7, 12.6, 20.2), 0.99, "face", tuple((x + 0.123, 7.0) for x in range(5))),
    Detection(Box(50, 1, 60, 9), 0.8, "face"),
    Detection(Box(30, 1, 40, 9), 0.7, "face"),
]


class Crowd:
    """A scene with three faces, the surest first; one of them in the person's box."""

    async def faces(self, context: FaceContext) -> list[Detection]:
        return FACES if context is FaceContext.WHOLE_IMAGE else FACES[1:2]


class OneDetector:
    def find(self, capability: Capability, space: str | None = None) -> str:
        assert capability is FACE_BOXES
        return MODEL.name

    def ref(self, model: str) -> ModelRef:
        assert model == MODEL.name
        return MODEL


async def answer(**params: Any) -> Answer[Any]:
    operation = DetectFaces()
    return await operation.run(Crowd(), operation.Params.model_validate(params), OneDetector())  # type: ignore[arg-type]


async def test_all_faces_of_the_whole_image_are_the_default() -> None:
    found = await answer()
    assert found.model == MODEL
    assert found.region is None
    assert [face.score for face in found.data.faces] == [0.99, 0.8, 0.7]
    first = found.data.faces[0]
    assert first.box == [0, 3, 12, 20], "corners are cut toward zero"
    assert first.landmarks == [(0.12, 7.0), (1.12, 7.0), (2.12, 7.0), (3.12, 7.0), (4.12, 7.0)]


async def test_faces_in_the_person_only() -> None:
    found = await answer(face_context="prominent_person")
    assert [face.box for face in found.data.faces] == [[50, 1, 60, 9]]


@pytest.mark.parametrize(("least", "count"), [(0.7, 3), (0.75, 2), (0.99, 1), (1.0, 0)])
async def test_unsure_faces_are_left_out_on_request(least: float, count: int) -> None:
    assert len((await answer(min_score=least)).data.faces) == count


async def test_no_face_is_an_answer() -> None:
    found = await answer(min_score=1)
    assert found.data.faces == []
    assert DetectFaces().plain(found.data) == []


async def test_the_old_contract_gets_a_list_of_objects() -> None:
    plain = DetectFaces().plain((await answer(min_score=0.75)).data)
    assert plain[1] == {"box": [50, 1, 60, 9], "score": 0.8, "label": "face", "landmarks": []}


@pytest.mark.parametrize("params", [{"min_score": -0.1}, {"min_score": 1.1}, {"target": "prominent_face"}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DetectFaces.Params.model_validate(params)
