"""Text generation as model families see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sightline.capabilities.question import OnPiece


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """Bounds of one generating process. ``max_context_tokens`` is the size of its key-value cache."""

    max_prompt_tokens: int
    max_context_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question.

    Attributes:
        images: PPM files, at least 32 pixels on each side.
        schema_json: a JSON Schema that the grammar enforces as far as its compiler can; None for words.
    """

    text: str
    images: tuple[bytes, ...]
    schema_json: str | None
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Generated:
    """A whole answer. ``truncated``: it ran into its limit of tokens, or into endless white space."""

    text: str
    truncated: bool
    input_tokens: int
    output_tokens: int
    first_token_s: float
    tokens_per_s: float | None


class TextGenerator(Protocol):
    """A vision-language model in a process of its own, which answers one question at a time."""

    async def generate(self, request: GenerationRequest, on_piece: OnPiece, timeout_s: float) -> Generated:
        """Answer; a caller that is cancelled stops the generation.

        ``on_piece`` gets the pieces of the text, and None when the text begins anew.

        Raises:
            ProviderTimeout: no answer in time; the generation is stopped.
            InvalidParameters: question and images have more tokens than the limit.
            InferenceFailed: the process ended, or the library failed.
            ModelBroken: the process does not start again.
        """
        ...

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        ...


class GeneratorLoader(Protocol):
    """Starts the process for a folder of OpenVINO files and waits until it can answer."""

    def __call__(self, name: str, folder: Path, limits: GenerationLimits) -> TextGenerator: ...
