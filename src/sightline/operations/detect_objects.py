"""Everything a detector can name, with its box."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from sightline.capabilities.detection import OBJECT_BOXES
from sightline.imaging import View
from sightline.labels import Label, as_list
from sightline.operations import Answer, Models, Operation, Params, Result, Scene, TimingGroup
from sightline.operations.boxes import kinds
from sightline.types import Detection


class DetectObjectsParams(Params):
    """Parameters of ``detect_objects``."""

    min_score: float = Field(
        0.5, ge=0, le=1, description="Least confidence; the detector itself gives nothing below 0.05."
    )
    labels: Annotated[list[Label], BeforeValidator(as_list)] = Field(
        default=[],
        max_length=100,
        description="Only things with one of these labels, such as person or dog; empty means all.",
    )
    max_results: int = Field(100, ge=1, le=100, description="At most so many things, the surest first.")


class FoundObject(Result):
    """Whole pixels of the upright picture."""

    box: list[int] = Field(description="[x_min, y_min, x_max, y_max]", min_length=4, max_length=4)
    score: float = Field(description="The detector's confidence, 0 to 1.")
    label: str = Field(description="The detector's name for such things.")


class FoundObjects(Result):
    """Highest score first; empty if nothing was found."""

    objects: list[FoundObject]


class DetectObjects(Operation[DetectObjectsParams, FoundObjects]):
    """Shares its inference with whoever asks for the prominent person of the same picture."""

    name = "detect_objects"
    description = (
        "Finds persons, animals, vehicles and other everyday things, each with box, score and label."
    )
    needs = (OBJECT_BOXES,)
    Params = DetectObjectsParams
    Result = FoundObjects
    example = {"min_score": 0.5, "labels": ["person", "dog"]}
    timing_group = TimingGroup.DETECTION
    purposes = ("objects",)

    async def run(self, scene: Scene, params: DetectObjectsParams, models: Models) -> Answer[FoundObjects]:
        inference = await scene.infer(OBJECT_BOXES, View(scene.picture))
        found = inference.output
        wanted = {label.strip().lower() for label in params.labels}
        chosen = [
            thing
            for thing in found
            if thing.score >= params.min_score and (not wanted or thing.label.lower() in wanted)
        ]
        chosen.sort(key=lambda thing: -thing.score)
        return Answer(
            FoundObjects(objects=[_written(thing) for thing in chosen[: params.max_results]]), inference.model
        )

    def words(self, result: FoundObjects) -> str:
        return kinds((each.label, each.score) for each in result.objects)

    def plain(self, result: FoundObjects) -> Any:
        return [thing.model_dump(mode="json") for thing in result.objects]


def _written(thing: Detection) -> FoundObject:
    return FoundObject(box=thing.box.truncated().as_list(), score=thing.score, label=thing.label)


OPERATIONS = (DetectObjects(),)
