"""Questions to vision-language models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sightline.capabilities import Capability
from sightline.imaging import Picture, View


@dataclass(frozen=True, slots=True)
class Question:
    """A question about views.

    Attributes:
        schema_json: the JSON Schema that the answer has to fit, as JSON; None for free text.
    """

    text: str
    views: tuple[View, ...] = ()
    schema_json: str | None = None

    @property
    def held_bytes(self) -> int:
        return len(self.text) + len(self.schema_json or "") + sum(view.held_bytes for view in self.views)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(view.picture for view in self.views)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a vision-language model.

    Attributes:
        text: as the model wrote it.
        structured: the answer as JSON data, where a schema asked for it and it fits; else None.
        model: what answered, in the words of the service that runs it.
        input_tokens, output_tokens: what the answer cost, a second attempt included; None if not said.
        truncated: the model ran into its limit of tokens before the end.
    """

    text: str
    model: str
    structured: Any = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    truncated: bool = False


ANSWER: Capability[Question, Reply] = Capability("answer", "The answer to a question about views.")

CAPABILITIES = (ANSWER,)
