"""Any question about a picture, to a vision-language model."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pydantic_core
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from sightline import json_schema
from sightline.capabilities.question import ANSWER, Question
from sightline.errors import InvalidParameters
from sightline.operations import Answer, Models, Operation, RegionParams, Result, Scene, TimingGroup
from sightline.settings import Settings
from sightline.types import Target

MAX_PROMPT_CHARS = 20_000
MAX_SCHEMA_BYTES = 64 * 1024
# What finding a face, decoding and waiting for a turn may take on top of the answer itself.
PREPARATION_S = 5.0


def _parsed(value: Any) -> Any:
    """Queries and form fields carry schemas as text."""
    if isinstance(value, str):
        try:
            value = pydantic_core.from_json(value, allow_inf_nan=False)
        except ValueError as error:
            raise PydanticCustomError("json", "is not JSON: {reason}", {"reason": str(error)}) from None
    if not isinstance(value, dict):
        raise PydanticCustomError("json_schema", "is no JSON Schema: that is an object here")
    return value


def _judged(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        json_schema.check(schema)
        size = len(json.dumps(schema))
    except InvalidParameters as error:
        raise PydanticCustomError("json_schema", "{reason}", {"reason": str(error)}) from None
    if size > MAX_SCHEMA_BYTES:
        raise PydanticCustomError("json_schema", f"is longer than {MAX_SCHEMA_BYTES} bytes")
    return schema


def _asked(prompt: str) -> str:
    if not prompt.strip():
        raise PydanticCustomError("prompt", "is empty; ask something")
    return prompt


class AskParams(RegionParams):
    """Parameters of ``ask``."""

    prompt: Annotated[str, AfterValidator(_asked)] = Field(
        description="The question, or what to do, in any language.", max_length=MAX_PROMPT_CHARS
    )
    json_schema: Annotated[dict[str, Any], BeforeValidator(_parsed), AfterValidator(_judged)] | None = Field(
        None, description="A JSON Schema, an object: the answer is then JSON that fits it."
    )
    together: bool = Field(
        False, description="Ask once about all images of the request, in their order, instead of about each."
    )
    model: str | None = Field(
        None,
        max_length=100,
        description="Which model answers; GET /v1/models lists them. By default a configured server or key, "
        "else a model on this machine.",
    )


class Asked(Result):
    """The model's answer."""

    text: str = Field(description="The answer as the model wrote it.")
    structured: Any = Field(None, description="The answer as JSON that fits the schema; null without one.")
    model: str = Field(description="What answered, in the words of the service that runs it.")
    input_tokens: int | None = Field(None, description="Tokens of question and image, if the service says.")
    output_tokens: int | None = Field(None, description="Tokens of the answer, if the service says.")
    tokens_per_s: float | None = Field(
        None, description="Tokens generated per second, if the model runs on this machine."
    )


class Ask(Operation[AskParams, Asked]):
    """A model on this machine answers, or a service: it gets a reduced copy of the region, no metadata."""

    name = "ask"
    description = "Asks a vision-language model a question about the image, person or face."
    needs = (ANSWER,)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = AskParams
    Result = Asked
    example = {"prompt": "What is the person doing?"}
    timing_group = TimingGroup.DESCRIPTION
    purposes = ("questions",)

    async def run(self, scene: Scene, params: AskParams, models: Models) -> Answer[Asked]:
        models.find(ANSWER, params.model)  # an unknown model is refused before a face is looked for
        region = await scene.region(params.target, params.face_context)
        schema = None if params.json_schema is None else json.dumps(params.json_schema)
        question = Question(params.prompt, (scene.view(region), *scene.others), schema)
        inference = await scene.infer(ANSWER, question, params.model)
        reply = inference.output
        asked = Asked(
            text=reply.text,
            structured=reply.structured,
            model=reply.model,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            tokens_per_s=reply.tokens_per_s,
        )
        warnings = (
            ("the answer is cut off: the model ran into its limit of tokens",) if reply.truncated else ()
        )
        return Answer(asked, inference.model, region, warnings)

    def together(self, params: AskParams) -> bool:
        return params.together

    def patience_s(self, settings: Settings) -> float:
        return max(settings.request_timeout_s, settings.ask_timeout_s + PREPARATION_S)

    def words(self, result: Asked) -> str:
        return f"{result.text}\n(answered by {result.model})"

    def plain(self, result: Asked) -> Any:
        return result.text if result.structured is None else result.structured


OPERATIONS = (Ask(),)
