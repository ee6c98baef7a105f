"""What a picture looks like, as a CLIP vector."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sightline.operations import (
    Answer,
    EmbeddingResult,
    EmbeddingStyle,
    Models,
    Operation,
    RegionParams,
    Scene,
    TaskTemplate,
)
from sightline.types import Capability, Target

DEFAULT_SPACE = "clip-vit-b-32"


class EmbedClipVitB32Params(RegionParams, EmbeddingStyle):
    """Parameters of ``embed_clip_vit_b_32``."""


class EmbedClipParams(EmbedClipVitB32Params):
    """Parameters of ``embed_clip``."""

    model: str = Field(
        DEFAULT_SPACE,
        max_length=100,
        description="Embedding space, named like its image model; GET /v1/models lists them.",
    )


class _ClipEmbedding(Operation[Any, EmbeddingResult]):
    """Both operations below: one region through the image tower of one space, the vector raw by default."""

    needs = (Capability.IMAGE_EMBEDDING,)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Result = EmbeddingResult
    timing_group = "embedding"

    async def run(
        self, scene: Scene, params: EmbedClipVitB32Params, models: Models
    ) -> Answer[EmbeddingResult]:
        space = params.model if isinstance(params, EmbedClipParams) else DEFAULT_SPACE
        model = models.find(Capability.IMAGE_EMBEDDING, space)
        region = await scene.region(params.target, params.face_context)
        inference = await scene.infer(model, scene.view(region))
        return Answer(params.written(inference.output, space), inference.model, region)

    def plain(self, result: EmbeddingResult) -> Any:
        return result.vector


class EmbedClip(_ClipEmbedding):
    """CLIP by request."""

    name = "embed_clip"
    description = "Embeds the image, person or face with the CLIP model named in 'model'."
    Params = EmbedClipParams
    example = {"model": DEFAULT_SPACE, "target": "whole_image"}


class EmbedClipVitB32(_ClipEmbedding):
    """The operation of the image-embed contract."""

    name = "embed_clip_vit_b_32"
    description = "Embeds the image, person or face with CLIP ViT-B/32."
    Params = EmbedClipVitB32Params
    example = {"target": "whole_image"}
    default_tasks = (TaskTemplate("clip"),)


OPERATIONS = (EmbedClip(), EmbedClipVitB32())
