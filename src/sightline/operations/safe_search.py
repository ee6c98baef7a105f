"""Whether a picture is likely to be pornography or nudity."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from sightline.capabilities.safety import NSFW_SCORE
from sightline.operations import Answer, Models, Operation, RegionParams, Result, Scene, TimingGroup
from sightline.types import Target

# The ranges that Yahoo's README recommends: below is safe, above is not, between is unclear.
SAFE_BELOW, UNSAFE_ABOVE = 0.2, 0.8
CAVEAT = (
    "The model knows pornography and nudity only. It does not know violence, drawings or text, and it scores "
    "bare skin, beaches and babies too high."
)


class Range(StrEnum):
    """How a score is read."""

    SAFE = "safe"
    UNCLEAR = "unclear"
    UNSAFE = "unsafe"


class SafeSearchParams(RegionParams):
    """Parameters of ``safe_search``."""


class SafeSearch(Result):
    """One score and how it is usually read."""

    score: float = Field(description="Probability of pornography or nudity, 0 to 1.")
    range: Range = Field(
        description=f"safe: below {SAFE_BELOW}. unsafe: above {UNSAFE_ABOVE}. unclear: between."
    )
    caveat: str = Field(description="What the model does not know.")


class SafeSearchOperation(Operation[SafeSearchParams, SafeSearch]):
    """A help for people who decide, not a decision."""

    name = "safe_search"
    description = "Scores how likely the image, person or face is pornography or nudity."
    needs = (NSFW_SCORE,)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = SafeSearchParams
    Result = SafeSearch
    example = {"target": "whole_image"}
    purposes = ("safety", "nsfw")
    timing_group = TimingGroup.CLASSIFICATION

    async def run(self, scene: Scene, params: SafeSearchParams, models: Models) -> Answer[SafeSearch]:
        models.find(NSFW_SCORE)  # a missing model is reported before a face is looked for
        region = await scene.region(params.target, params.face_context)
        inference = await scene.infer(NSFW_SCORE, scene.view(region))
        score = inference.output
        found = SafeSearch(score=round(score, 5), range=_range(score), caveat=CAVEAT)
        return Answer(found, inference.model, region)

    def words(self, result: SafeSearch) -> str:
        return f"{result.range.value} (nudity {result.score:.0%})"


def _range(score: float) -> Range:
    if score < SAFE_BELOW:
        return Range.SAFE
    return Range.UNSAFE if score > UNSAFE_ABOVE else Range.UNCLEAR


OPERATIONS = (SafeSearchOperation(),)
