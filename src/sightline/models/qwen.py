"""Qwen3.5: small vision-language models that answer questions and write captions on this machine.

The files are OpenVINO's, ready-made; they are run as they are, by openvino-genai in a process of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.caption import CAPTION, CaptionRequest
from sightline.capabilities.question import ANSWER, Question, Reply, tell
from sightline.errors import InvalidParameters
from sightline.imaging import View
from sightline.models import GraphLoader, ModelCard, ModelDefinition, RemoteModel, Runs, made_up
from sightline.models.answering import Answerer, Prompt, Said, reduced, with_schema
from sightline.models.generation import GenerationLimits, GenerationRequest, TextGenerator
from sightline.weights.sources import Artifact, HubFile

# One token per 32 × 32 pixels: 640 pixels are 400 tokens at most, which two cores read in 7 to 11 s.
TOKEN_SIDE_PX = 32
MAX_SIDE_PX = 640
MAX_IMAGES = 16
# All images of a question together; more images are reduced further.
MAX_IMAGE_TOKENS = 1_600
# Two cores read 52 tokens per second with the larger model: 2,048 take 40 of the 60 s for an answer.
LIMITS = GenerationLimits(max_prompt_tokens=2_048, max_context_tokens=4_096)
MAX_TOKENS_WORDS = 256
MAX_TOKENS_JSON = 512
# Bounds of strings and arrays that have none in the schema: one of them would take all tokens of the answer.
MAX_STRING_CHARS = 500
MAX_ITEMS = 20
# A photo of 640 pixels and the words around it.
TOKENS_OF_A_PHOTO = 460
CAPTION_PROMPT = "Describe this image in one English sentence."

_GRAPHS = (
    *("openvino_language_model", "openvino_text_embeddings_model", "openvino_vision_embeddings_model"),
    *("openvino_vision_embeddings_merger_model", "openvino_vision_embeddings_pos_model"),
    *("openvino_tokenizer", "openvino_detokenizer"),
)
FILES = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "chat_template.jinja"),
    *(f"{graph}.{ending}" for graph in _GRAPHS for ending in ("xml", "bin")),
)


def bounded(schema: Any) -> Any:
    """Return ``schema`` with a bound on every string and array that has none, for the grammar alone."""
    if isinstance(schema, list):
        return [bounded(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        keyword: value if keyword in ("const", "enum", "default", "examples") else bounded(value)
        for keyword, value in schema.items()
    }
    kind = schema.get("type")
    if kind == "string" and not {"maxLength", "enum", "const", "pattern", "format"} & schema.keys():
        made["maxLength"] = max(MAX_STRING_CHARS, _number(schema.get("minLength")))
    if kind == "array" and not {"maxItems", "enum", "const"} & schema.keys():
        made["maxItems"] = max(MAX_ITEMS, _number(schema.get("minItems")))
    return made


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def image_files(views: tuple[View, ...]) -> tuple[bytes, ...]:
    """Return the views as PPM files, reduced so that together they are ``MAX_IMAGE_TOKENS`` at most.

    Raises:
        InvalidParameters: there are more than ``MAX_IMAGES``.
        ImageError: an image does not decode.
    """
    if len(views) > MAX_IMAGES:
        raise InvalidParameters(
            f"too many images in one question: {len(views)}; expected at most {MAX_IMAGES}"
        )
    side = MAX_SIDE_PX
    if views:
        side = min(side, TOKEN_SIDE_PX * math.isqrt(MAX_IMAGE_TOKENS // len(views)))
    return tuple(_ppm(reduced(view, side)) for view in views)


def _ppm(pixels: NDArray[np.uint8]) -> bytes:
    """Sides below a token's are filled: the library refuses images that are 200 times as long as high."""
    height, width = pixels.shape[:2]
    missing = (max(0, TOKEN_SIDE_PX - height), max(0, TOKEN_SIDE_PX - width))
    if any(missing):
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    height, width = pixels.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(pixels, np.uint8).tobytes()


def _rewritten(text: str) -> str:
    """JSON written anew: the grammar allows control characters in strings, and JSON does not."""
    try:
        return json.dumps(json.loads(text, strict=False), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text.strip()


class LocalProvider:
    """An ``answering.Provider`` over a text generator."""

    def __init__(self, generator: TextGenerator, model: str) -> None:
        self._generator = generator
        self._model = model

    async def say(self, prompt: Prompt, timeout_s: float) -> Said:
        """See ``answering.Provider``."""
        schema = None if prompt.schema is None else json.dumps(bounded(prompt.schema))
        usual = MAX_TOKENS_WORDS if schema is None else MAX_TOKENS_JSON
        request = GenerationRequest(with_schema(prompt), prompt.images, schema, prompt.max_tokens or usual)
        generated = await self._generator.generate(request, tell, timeout_s)
        return Said(
            text=generated.text.strip() if schema is None else _rewritten(generated.text),
            model=self._model,
            input_tokens=generated.input_tokens,
            output_tokens=generated.output_tokens,
            truncated=generated.truncated,
            tokens_per_s=generated.tokens_per_s,
        )

    async def close(self) -> None:
        """End the process."""
        await self._generator.close()


class Qwen:
    """A ``models.RemoteModel``: answers questions, and describes views."""

    def __init__(self, generator: TextGenerator, name: str) -> None:
        self._provider = LocalProvider(generator, name)
        self._answerer = Answerer(
            self._provider, name=name, timeout_s=math.inf, max_side=MAX_SIDE_PX, image_files=image_files
        )

    async def answer(self, subject: Question | CaptionRequest, timeout_s: float) -> Reply | str:
        """See ``answering.Answerer.answer``."""
        if isinstance(subject, CaptionRequest):
            question = Question(CAPTION_PROMPT, (subject.view,))
            reply = await self._answerer.answer(question, timeout_s, max_tokens=subject.max_length)
            return reply.text
        return await self._answerer.answer(subject, timeout_s)

    async def close(self) -> None:
        """End the process."""
        await self._provider.close()


def _loader(name: str) -> Callable[[Mapping[str, Path], GraphLoader], RemoteModel]:
    def load(files: Mapping[str, Path], graphs: GraphLoader) -> RemoteModel:
        return Qwen(graphs.generator(name, files["config.json"].parent, LIMITS), name)

    return load


def _definition(name: str, repo: str, size: str, parameters: int, rank: int) -> ModelDefinition:
    card = ModelCard(
        name=name,
        capabilities=frozenset({ANSWER, CAPTION}),
        description=f"Qwen3.5 with {size} parameters in 4 bits: answers questions on this machine.",
        licence="Apache-2.0",
        homepage=f"https://huggingface.co/{repo}",
        preprocessing="qwen3.5-640",
        parameters=parameters,
        multiply_adds=parameters * TOKENS_OF_A_PHOTO,
        rank=rank,
        # The digests are recorded at the first download and checked from then on.
        artifacts=tuple(Artifact(path, (HubFile(repo, path),)) for path in FILES),
        max_batch=1,
        runs=Runs.ELSEWHERE,
    )
    return ModelDefinition(card, load=_loader(name), made_up=made_up.answers)


MODELS = (
    _definition("qwen3.5-2b", "OpenVINO/Qwen3.5-2B-int4-ov", "2.2 billion", 2_213_000_000, rank=0),
    _definition("qwen3.5-0.8b", "OpenVINO/Qwen3.5-0.8B-int4-ov", "0.85 billion", 853_000_000, rank=1),
)
