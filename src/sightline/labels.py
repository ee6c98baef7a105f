"""Labels to choose from and the texts that stand for them: one rule for requests, command lines and files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

# In characters; CLIP reads 77 tokens, a word or less each.
LONGEST_TEXT = 2000
# What templates of a request have where the label goes, or somebody may think that they have.
_PLACE_OF_A_LABEL = re.compile(r"\{\w*\}")


def _named(label: str) -> str:
    if not label.strip():
        raise PydanticCustomError("label", "a label must not be blank")
    if label != label.strip():
        raise PydanticCustomError(
            "label", "{label} begins or ends with a space; expected a label without", {"label": repr(label)}
        )
    return label


def _described(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("text", "a text must not be blank")
    if _PLACE_OF_A_LABEL.search(text):
        raise PydanticCustomError(
            "text",
            "{text} has braces, as templates have; texts of a label are compared as they are, so write out "
            "what the picture shows",
            {"text": repr(text[:100])},
        )
    return text


Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_named)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_described)]


def as_list(value: Any) -> Any:
    """A text as a list of labels: JSON, or labels separated by commas. Anything else as it is."""
    value = as_json(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def as_json(value: Any) -> Any:
    """A text that begins like a JSON list or object as what it says: queries carry these as text.

    Raises:
        PydanticCustomError: it begins like JSON and is not.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError("json", "it begins like JSON and is none") from None


def require_distinct(texts_by_label: Mapping[str, Sequence[str]]) -> None:
    """Raise PydanticCustomError if two labels have the same texts: no model can tell these apart.

    Capitals and spaces between words make no difference to CLIP.
    """
    seen: dict[frozenset[str], str] = {}
    for label, texts in texts_by_label.items():
        first = seen.setdefault(frozenset(" ".join(text.lower().split()) for text in texts), label)
        if first != label:
            raise PydanticCustomError(
                "labels",
                "{first} and {second} have the same texts, so nothing tells them apart; capitals and spaces "
                "do not count",
                {"first": repr(first), "second": repr(label)},
            )
