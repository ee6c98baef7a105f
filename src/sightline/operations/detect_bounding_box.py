"""Where the most prominent person or face is."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sightline.capabilities.detection import FACE_BOXES, PERSON_BOXES
from sightline.operations import Answer, Models, Operation, RegionParams, Scene, TaskTemplate, TimingGroup
from sightline.operations.boxes import BoundingBox, written
from sightline.types import Target


class DetectBoundingBoxParams(RegionParams):
    """Parameters of ``detect_bounding_box``."""

    target: Target = Field(Target.PROMINENT_PERSON, description="What to find.")


class DetectBoundingBox(Operation[DetectBoundingBoxParams, BoundingBox]):
    """The answer's data is None when there is nothing to find: that is an answer, not a failure."""

    name = "detect_bounding_box"
    description = "Finds the box of the most prominent person or face."
    needs = (PERSON_BOXES, FACE_BOXES)
    optional_needs = (FACE_BOXES,)
    targets = (Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.PROMINENT_PERSON
    Params = DetectBoundingBoxParams
    Result = BoundingBox
    example = {"target": "prominent_face", "face_context": "whole_image"}
    default_tasks = (TaskTemplate("person"), TaskTemplate("face", {"target": "prominent_face"}))
    timing_group = TimingGroup.DETECTION
    purposes = ("people",)

    async def run(self, scene: Scene, params: DetectBoundingBoxParams, models: Models) -> Answer[BoundingBox]:
        if params.target is Target.PROMINENT_FACE:
            model = models.find(FACE_BOXES)
            found = await scene.face(params.face_context)
        else:
            model = models.find(PERSON_BOXES)
            found = await scene.person()
        return Answer(
            data=written(found) if found else None,
            model=models.ref(model),
        )

    def words(self, result: BoundingBox) -> str:
        x_min, y_min, x_max, y_max = result.box
        return f"{result.label} {result.score:.0%}, x {x_min} to {x_max}, y {y_min} to {y_max}"

    def plain(self, result: BoundingBox) -> Any:
        return result.box


OPERATIONS = (DetectBoundingBox(),)
