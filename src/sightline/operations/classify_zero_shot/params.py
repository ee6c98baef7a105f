"""Parameters: the caller's own labels or texts, or a known set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from sightline.capabilities.label_sets import LabelSet
from sightline.labels import LONGEST_TEXT, Label, Text, as_json, as_list, require_distinct
from sightline.operations import RegionParams

DEFAULT_SPACE = "clip-vit-b-32"
# The prompt for classes without a better one in that paper and in the notebooks of github.com/openai/CLIP.
DEFAULT_TEMPLATE = "a photo of a {}."
# A text costs about as much as half a picture, and all of a request's are computed within its time.
MOST_PROMPTS = 1000

Template = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Share = Annotated[float, Field(ge=0, le=1)]


def _as_labels(value: Any) -> Any:
    """``map,photo`` in a query is two labels; a label with one prompt may have it without brackets."""
    value = as_list(value)
    if isinstance(value, Mapping):
        value = {label: [texts] if isinstance(texts, str) else texts for label, texts in value.items()}
    if isinstance(value, list | Mapping) and len(value) < 2:
        raise PydanticCustomError("labels", "give at least two labels, separated by commas: dog,cat")
    return value


def _as_templates(value: Any) -> Any:
    value = as_json(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    return [value] if isinstance(value, str) else value


Labels = Annotated[list[Label], Field(min_length=2, max_length=MOST_PROMPTS)]
Prompts = Annotated[
    dict[Label, Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS)]],
    Field(min_length=2, max_length=MOST_PROMPTS),
]

_ListOrObject = Annotated[
    Annotated[Labels, Tag("list")] | Annotated[Prompts, Tag("object")],
    Discriminator(lambda value: "object" if isinstance(value, Mapping) else "list"),
]


class ClassifyZeroShotParams(RegionParams):
    """Parameters of ``classify_zero_shot``: either ``labels`` or ``label_set``."""

    labels: Annotated[_ListOrObject | None, BeforeValidator(_as_labels)] = Field(
        None,
        description="What to choose from: a list of labels, or an object with one or several texts for each, "
        "which are averaged. As text: labels separated by commas, JSON, or one text "
        "for each label.",
    )
    label_set: str | None = Field(
        None,
        max_length=100,
        description="A known set of labels instead, such as map-or-aerial or kind-of-picture.",
    )
    templates: Annotated[list[Template], BeforeValidator(_as_templates)] = Field(
        [DEFAULT_TEMPLATE],
        min_length=1,
        max_length=100,
        description="Texts that {} in them makes of a label in a list; several are averaged.",
    )
    thresholds: Annotated[dict[Label, Share], BeforeValidator(as_json)] = Field(
        {}, description="For some labels, the probability above which they count as passed."
    )
    model: str = Field(
        DEFAULT_SPACE,
        max_length=100,
        description="Space of the image and the text model; GET /v1/models lists them.",
    )

    @model_validator(mode="after")
    def _one_question(self) -> ClassifyZeroShotParams:
        if (self.labels is None) == (self.label_set is None):
            raise PydanticCustomError("labels", "give either labels or label_set")
        if "templates" in self.model_fields_set and not isinstance(self.labels, list):
            raise PydanticCustomError("templates", "templates go with a list of labels only")
        if plain := next((text for text in self.templates if "{}" not in text), None):
            raise PydanticCustomError(
                "templates",
                "a template needs {} where the label goes, not so {text}",
                {"text": repr(plain[:100])},
            )
        if isinstance(self.labels, list) and len(set(self.labels)) < len(self.labels):
            raise PydanticCustomError("labels", "labels must differ")
        if self.labels is not None:
            self._require_few_texts()
            require_distinct(dict(self.asked.prompts))
            if unfit := unfit_threshold(self.thresholds, self.asked):
                raise PydanticCustomError("thresholds", "{unfit}", {"unfit": unfit})
        return self

    def _require_few_texts(self) -> None:
        """Before any is made of its template: a small request must not become gigabytes of text."""
        if not isinstance(self.labels, list):
            number = sum(len(texts) for texts in (self.labels or {}).values())
        else:
            number = len(self.labels) * len(self.templates)
            longest = max(map(len, self.labels))
            for template in self.templates:
                places = template.count("{}")
                if len(template) + places * (longest - 2) > LONGEST_TEXT:
                    raise PydanticCustomError(
                        "templates",
                        "with the longest label a template has more than {most} characters",
                        {"most": LONGEST_TEXT},
                    )
        if number > MOST_PROMPTS:
            raise PydanticCustomError("labels", f"at most {MOST_PROMPTS} texts, all labels together")

    @cached_property
    def asked(self) -> LabelSet:
        """The labels of the request as a set without a name."""
        labels = self.labels or {}
        if isinstance(labels, list):
            labels = {label: [each.replace("{}", label) for each in self.templates] for label in labels}
        return LabelSet("", tuple((label, tuple(texts)) for label, texts in labels.items()))


def unfit_threshold(thresholds: Mapping[str, float], asked: LabelSet) -> str | None:
    """Return the fault of the thresholds, or None."""
    unknown = sorted(thresholds.keys() - set(asked.labels))
    if not unknown:
        return None
    return f"thresholds has {unknown[0]!r}, which is none of {', '.join(asked.labels)[:500]}"
