"""Where the most prominent person or face is."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sightline.operations import Answer, Models, Operation, RegionParams, Result, Scene, TaskTemplate
from sightline.types import Capability, Detection, Target


class DetectBoundingBoxParams(RegionParams):
    """Parameters of ``detect_bounding_box``."""

    target: Target = Field(Target.PROMINENT_PERSON, description="What to find.")


class BoundingBox(Result):
    """Whole pixels of the upright picture. A face may reach past the picture's edge: it is not clamped."""

    box: list[int] = Field(description="[x_min, y_min, x_max, y_max]", min_length=4, max_length=4)
    score: float = Field(description="The detector's confidence, 0 to 1.")
    label: str
    landmarks: list[tuple[float, float]] = Field(
        default=[], description="(x, y) of left eye, right eye, nose, left and right mouth corner, for faces."
    )


class DetectBoundingBox(Operation[DetectBoundingBoxParams, BoundingBox]):
    """The answer's data is None when there is nothing to find: that is an answer, not a failure."""

    name = "detect_bounding_box"
    description = "Finds the box of the most prominent person or face."
    needs = (Capability.PERSON_BOXES, Capability.FACE_BOXES)
    targets = (Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.PROMINENT_PERSON
    Params = DetectBoundingBoxParams
    Result = BoundingBox
    example = {"target": "prominent_face", "face_context": "whole_image"}
    default_tasks = (TaskTemplate("face", {"target": "prominent_face"}),)
    timing_group = "detection"

    async def run(self, scene: Scene, params: DetectBoundingBoxParams, models: Models) -> Answer[BoundingBox]:
        if params.target is Target.PROMINENT_FACE:
            model = models.find(Capability.FACE_BOXES)
            found = await scene.face(params.face_context)
        else:
            model = models.find(Capability.PERSON_BOXES)
            found = await scene.person()
        return Answer(
            data=_written(found) if found else None,
            model=models.ref(model),
        )

    def plain(self, result: BoundingBox) -> Any:
        return result.box


def _written(found: Detection) -> BoundingBox:
    return BoundingBox(
        box=found.box.truncated().as_list(),
        score=found.score,
        label=found.label,
        landmarks=[(round(x, 2), round(y, 2)) for x, y in found.landmarks],
    )


OPERATIONS = (DetectBoundingBox(),)
