"""The meaning of a picture, as a CLIP vector."""

from __future__ import annotations

from pydantic import Field

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.operations import TaskTemplate
from sightline.operations.embedding import RegionEmbedding, RegionEmbeddingParams

DEFAULT_SPACE = "clip-vit-b-32"


class EmbedClipVitB32Params(RegionEmbeddingParams):
    """Parameters of ``embed_clip_vit_b_32``."""


class EmbedClipParams(RegionEmbeddingParams):
    """Parameters of ``embed_clip``."""

    model: str = Field(
        DEFAULT_SPACE,
        max_length=100,
        description="Embedding space, named like its image model; GET /v1/models lists them.",
    )


class EmbedClip(RegionEmbedding[EmbedClipParams]):
    """CLIP by request."""

    name = "embed_clip"
    description = "Embeds the image, person or face with the CLIP model named in 'model'."
    Params = EmbedClipParams
    example = {"model": DEFAULT_SPACE, "target": "whole_image"}
    default_spaces = {IMAGE_EMBEDDING: DEFAULT_SPACE}

    def space(self, params: EmbedClipParams) -> str:
        return params.model


class EmbedClipVitB32(RegionEmbedding[EmbedClipVitB32Params]):
    """The operation of the image-embed contract."""

    name = "embed_clip_vit_b_32"
    description = "Embeds the image, person or face with CLIP ViT-B/32."
    Params = EmbedClipVitB32Params
    example = {"target": "whole_image"}
    default_spaces = {IMAGE_EMBEDDING: DEFAULT_SPACE}
    default_tasks = (TaskTemplate("clip"),)
    purposes = ("search",)

    def space(self, params: EmbedClipVitB32Params) -> str:
        return DEFAULT_SPACE


OPERATIONS = (EmbedClip(), EmbedClipVitB32())
