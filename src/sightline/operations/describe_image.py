"""Describe a picture in words."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from sightline.capabilities.caption import CAPTION, CaptionRequest
from sightline.operations import Answer, Models, Operation, RegionParams, Result, Scene, TimingGroup
from sightline.types import Target

LEAST_LENGTH, GREATEST_LENGTH = 2, 512
DEFAULT_MODEL = "blip-base"

# As the service whose contract this is asks its model.
NUM_BEAMS = 4


def _possible(length: int) -> int:
    if not LEAST_LENGTH <= length <= GREATEST_LENGTH:
        raise PydanticCustomError("length", f"must be {LEAST_LENGTH} to {GREATEST_LENGTH}")
    return length


class DescribeImageParams(RegionParams):
    """Parameters of ``describe_image``."""

    max_length: Annotated[int, AfterValidator(_possible)] = Field(
        50,
        description=f"Most tokens of the text, {LEAST_LENGTH} to {GREATEST_LENGTH}; "
        "the invisible ones at its start and end count, and a word may take several.",
        json_schema_extra={"minimum": LEAST_LENGTH, "maximum": GREATEST_LENGTH},
    )
    model: str = Field(
        DEFAULT_MODEL, max_length=100, description="Which model writes; GET /v1/models lists them."
    )


class Description(Result):
    """Words as the model wrote them, lower case and without a full stop from BLIP."""

    text: str


class DescribeImage(Operation[DescribeImageParams, Description]):
    """The operation of the image-embed contract, with its parameters and the choice of a model."""

    name = "describe_image"
    description = "Describes the image, person or face in one English sentence."
    needs = (CAPTION,)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = DescribeImageParams
    Result = Description
    example = {"target": "whole_image", "max_length": 50}
    default_spaces = {CAPTION: DEFAULT_MODEL}
    timing_group = TimingGroup.DESCRIPTION
    purposes = ("captions",)

    async def run(self, scene: Scene, params: DescribeImageParams, models: Models) -> Answer[Description]:
        models.find(CAPTION, params.model)  # an unknown model is refused before a face is looked for
        region = await scene.region(params.target, params.face_context)
        request = CaptionRequest(scene.view(region), params.max_length, NUM_BEAMS)
        inference = await scene.infer(CAPTION, request, params.model)
        return Answer(Description(text=inference.output), inference.model, region)

    def plain(self, result: Description) -> Any:
        return result.text


OPERATIONS = (DescribeImage(),)
