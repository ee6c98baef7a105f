from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sightline.capabilities import Capability
from sightline.capabilities.caption import CaptionRequest
from sightline.errors import TargetNotFound
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.operations import Inference, catalogue
from sightline.operations.describe_image import DescribeImage, DescribeImageParams, Description
from sightline.types import ModelRef, PixelBox, Provenance, Region, Target

REF = ModelRef("writer", "abc", Provenance.PULLED)


@dataclass
class Scene:
    """A picture with a person and no face."""

    asked: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        pixels = np.zeros((40, 60, 3), np.uint8)
        self.picture = open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))

    async def region(self, target: Target, context: Any) -> Region:
        if target is Target.PROMINENT_FACE:
            raise TargetNotFound("no prominent face found")
        return Region(target, PixelBox(1, 2, 30, 40) if target is Target.PROMINENT_PERSON else None)

    def view(self, region: Region) -> View:
        return View(self.picture, region.box)

    async def infer(self, capability: Any, subject: Any, space: str | None = None) -> Inference[Any]:
        self.asked.append((f"{capability.name} by {space}", subject))
        return Inference("two cats on a couch", REF)


class Models:
    def find(self, capability: Capability, space: str | None = None) -> str:
        return f"{capability.name} by {space}"


async def test_it_asks_for_four_beams_of_at_most_fifty_tokens() -> None:
    scene = Scene()
    answer = await DescribeImage().run(scene, DescribeImageParams(), Models())
    assert answer.data == Description(text="two cats on a couch")
    assert answer.model == REF
    assert answer.region == Region(Target.WHOLE_IMAGE)
    assert scene.asked == [("caption by blip-base", CaptionRequest(View(scene.picture), 50, 4))]


async def test_it_can_describe_a_part_with_another_model() -> None:
    scene = Scene()
    params = DescribeImageParams(target="prominent_person", max_length=300, model="blip-large")
    answer = await DescribeImage().run(scene, params, Models())
    assert answer.region is not None
    assert answer.region.box == PixelBox(1, 2, 30, 40)
    view = View(scene.picture, answer.region.box)
    assert scene.asked == [("caption by blip-large", CaptionRequest(view, 300, 4))]


async def test_no_face_is_nothing_to_describe() -> None:
    with pytest.raises(TargetNotFound):
        await DescribeImage().run(Scene(), DescribeImageParams(target="prominent_face"), Models())


@pytest.mark.parametrize("length", [2, 512])
def test_the_limits_of_the_length_are_possible(length: int) -> None:
    assert DescribeImageParams(max_length=length).max_length == length


@pytest.mark.parametrize("length", [-1, 0, 1, 513, 10_000])
def test_an_impossible_length_is_refused_with_what_is_possible(length: int) -> None:
    with pytest.raises(ValidationError, match=r"max_length\n  must be 2 to 512"):
        DescribeImageParams(max_length=length)


def test_the_limits_are_in_the_schema() -> None:
    schema = DescribeImageParams.model_json_schema()["properties"]["max_length"]
    assert (schema["minimum"], schema["maximum"], schema["default"]) == (2, 512, 50)


def test_a_description_is_a_bare_text_in_the_old_contract() -> None:
    assert catalogue()["describe_image"].plain(Description(text="a dog")) == "a dog"
