"""A text as a vector in the space of the pictures, for searching pictures by words."""

from __future__ import annotations

from pydantic import Field

from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.operations import (
    Answer,
    EmbeddingResult,
    EmbeddingStyle,
    Models,
    Operation,
    Scene,
    TimingGroup,
)

DEFAULT_SPACE = "clip-vit-b-32"


class EmbedTextParams(EmbeddingStyle):
    """Parameters of ``embed_text``."""

    text: str = Field(
        min_length=1, max_length=2000, description="The text; CLIP reads 75 tokens of it at most."
    )
    model: str = Field(
        DEFAULT_SPACE, max_length=100, description="Embedding space, the same as of the pictures' vectors."
    )


class EmbedText(Operation[EmbedTextParams, EmbeddingResult]):
    """Needs no picture."""

    name = "embed_text"
    description = "Embeds a text into the space of CLIP's image embeddings."
    needs = (TEXT_EMBEDDING,)
    Params = EmbedTextParams
    Result = EmbeddingResult
    example = {"text": "a photo of a dog", "model": DEFAULT_SPACE}
    default_spaces = {TEXT_EMBEDDING: DEFAULT_SPACE}
    needs_picture = False
    timing_group = TimingGroup.EMBEDDING
    purposes = ("search",)

    async def run(self, scene: Scene, params: EmbedTextParams, models: Models) -> Answer[EmbeddingResult]:
        inference = await scene.infer(TEXT_EMBEDDING, params.text, params.model)
        return Answer(params.written(inference.output, params.model), inference.model)


OPERATIONS = (EmbedText(),)
