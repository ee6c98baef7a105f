"""Where all faces are."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sightline.capabilities.detection import FACE_BOXES, PERSON_BOXES
from sightline.operations import Answer, Models, Operation, Params, Result, Scene, TimingGroup
from sightline.operations.boxes import BoundingBox, counted, written
from sightline.types import FaceContext


class DetectFacesParams(Params):
    """Parameters of ``detect_faces``."""

    face_context: FaceContext = Field(
        FaceContext.WHOLE_IMAGE,
        description="Where faces are looked for: everywhere, or inside the prominent person.",
    )
    min_score: float = Field(0.0, ge=0, le=1, description="Leave out faces with a lower score, 0 to 1.")


class Faces(Result):
    """The faces that were found, perhaps none."""

    faces: list[BoundingBox] = Field(description="The most probable first, each with five landmarks.")


class DetectFaces(Operation[DetectFacesParams, Faces]):
    """Shares its one detection with every other task that needs a face of the same context."""

    name = "detect_faces"
    description = "Finds all faces, with their boxes, scores and landmarks."
    needs = (FACE_BOXES, PERSON_BOXES)
    optional_needs = (PERSON_BOXES,)
    Params = DetectFacesParams
    Result = Faces
    example = {"min_score": 0.9}
    timing_group = TimingGroup.DETECTION
    purposes = ("faces", "people")

    async def run(self, scene: Scene, params: DetectFacesParams, models: Models) -> Answer[Faces]:
        model = models.find(FACE_BOXES)
        found = await scene.faces(params.face_context)
        faces = [written(face) for face in found if face.score >= params.min_score]
        return Answer(data=Faces(faces=faces), model=models.ref(model))

    def words(self, result: Faces) -> str:
        return counted(result.faces, "face")

    def plain(self, result: Faces) -> Any:
        return [face.model_dump(mode="json") for face in result.faces]


OPERATIONS = (DetectFaces(),)
