"""Shared parts of operations that turn a part of a picture into a vector."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.operations import (
    Answer,
    EmbeddingResult,
    EmbeddingStyle,
    Models,
    Operation,
    RegionParams,
    Scene,
    TimingGroup,
)
from sightline.types import Target


class RegionEmbeddingParams(RegionParams, EmbeddingStyle):
    """Parameters of every such operation."""


ParamsT = TypeVar("ParamsT", bound=RegionEmbeddingParams)


class RegionEmbedding(Operation[ParamsT, EmbeddingResult]):
    """One region through the image model of one space, the vector raw by default."""

    needs = (IMAGE_EMBEDDING,)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Result = EmbeddingResult
    timing_group = TimingGroup.EMBEDDING

    @abstractmethod
    def space(self, params: ParamsT) -> str:
        """The embedding space that is asked for."""

    async def run(self, scene: Scene, params: ParamsT, models: Models) -> Answer[EmbeddingResult]:
        space = self.space(params)
        models.find(IMAGE_EMBEDDING, space)  # an unknown space is refused before a face is looked for
        region = await scene.region(params.target, params.face_context)
        inference = await scene.infer(IMAGE_EMBEDDING, scene.view(region), space)
        return Answer(params.written(inference.output, space), inference.model, region)

    def plain(self, result: EmbeddingResult) -> Any:
        return result.vector
