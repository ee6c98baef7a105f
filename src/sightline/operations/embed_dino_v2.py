"""The look of a picture (its composition, colours and textures), as a DINOv2 vector."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.operations.embedding import RegionEmbedding, RegionEmbeddingParams

# One network, but vectors of different sizes cannot be compared: each size is a space.
_SPACES = {224: "dinov2-base", 518: "dinov2-base-518"}


class EmbedDinoV2Params(RegionEmbeddingParams):
    """Parameters of ``embed_dino_v2``."""

    size: Literal[224, 518] = Field(
        224,
        description="Pixels the network sees on each side; 518 takes seven times as long. Vectors of the two "
        "sizes cannot be compared.",
    )


class EmbedDinoV2(RegionEmbedding[EmbedDinoV2Params]):
    """The operation of the image-embed contract."""

    name = "embed_dino_v2"
    description = "Embeds what the image, person or face looks like, for visual similarity, with DINOv2."
    Params = EmbedDinoV2Params
    example = {"target": "whole_image", "size": 224}
    default_spaces = {IMAGE_EMBEDDING: _SPACES[224]}

    def space(self, params: EmbedDinoV2Params) -> str:
        return _SPACES[params.size]


OPERATIONS = (EmbedDinoV2(),)
