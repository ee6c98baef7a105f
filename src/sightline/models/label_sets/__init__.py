"""Label sets by name: those of ``label_sets.toml`` beside this file and those of the user's own file.

They stand here, among the models, because they come from settings, which operations do not see. A set's
fingerprint is that of all its texts and rules, so that changed words are told from old ones.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sightline.errors import InvalidParameters, ModelBroken
from sightline.models import Connection, ModelCard, ModelDefinition, Runs
from sightline.settings import Settings
from sightline.types import Capability, LabelRule, LabelSet, Provenance

BUILT_IN = Path(__file__).with_name("label_sets.toml")

CARD = ModelCard(
    name="label-sets",
    capabilities=frozenset({Capability.LABEL_SETS}),
    description="Named sets of labels and the texts that describe them, built in and of your own",
    licence="Apache-2.0",
    homepage="https://arxiv.org/abs/2103.00020",
    preprocessing="none",
    parameters=0,
    multiply_adds=0,
    max_batch=64,
    runs=Runs.IN_LOOP,
)

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]
Prompt = Annotated[str, Field(min_length=1, max_length=2000)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    any_above: dict[Name, Share] = {}
    all_below: dict[Name, Share] = {}


class _Set(BaseModel):
    model_config = ConfigDict(extra="forbid")
    description: str = ""
    labels: dict[Name, Annotated[list[Prompt], Field(min_length=1)]] = Field(min_length=2)
    rules: dict[Name, _Rule] = {}

    def named(self, name: str) -> LabelSet:
        rules = tuple(
            LabelRule(rule, tuple(each.any_above.items()), tuple(each.all_below.items()))
            for rule, each in self.rules.items()
        )
        return LabelSet(name, tuple((label, tuple(texts)) for label, texts in self.labels.items()), rules)


_File = TypeAdapter(dict[Name, _Set])


class LabelSets:
    """Names to sets."""

    def __init__(self, sets: Mapping[str, LabelSet]) -> None:
        self._sets = dict(sets)

    def prepare(self, subject: str) -> LabelSet:
        """Raises InvalidParameters: there is no such set."""
        found = self._sets.get(subject)
        if found is None:
            raise InvalidParameters(
                f"there is no label set {subject[:100]!r}; there are {', '.join(self._sets)}"
            )
        return found

    def infer(self, items: Sequence[LabelSet]) -> Sequence[LabelSet]:
        return items


def connect(settings: Settings) -> Connection:
    """Read both files.

    Raises:
        ModelBroken: the user's file cannot be read, or holds what is no label set; the message says what.
    """
    sets = _read(BUILT_IN)
    if settings.label_sets is not None:
        own = _read(settings.label_sets)
        if taken := sorted(sets.keys() & own.keys()):
            raise ModelBroken(f"SIGHTLINE_LABEL_SETS: the name {taken[0]!r} is taken by a built-in label set")
        sets |= own
    described = {name: [each.prompts, [_plain(rule) for rule in each.rules]] for name, each in sets.items()}
    return Connection(LabelSets(sets), json.dumps(described), Provenance.BUILT_IN)


def _read(path: Path) -> dict[str, LabelSet]:
    try:
        written = _File.validate_python(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ModelBroken(f"SIGHTLINE_LABEL_SETS: the file cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ModelBroken(f"SIGHTLINE_LABEL_SETS: {where}: {problem['msg']}") from None
    except ValueError as error:  # bytes that are no UTF-8, or text that is no TOML
        raise ModelBroken(f"SIGHTLINE_LABEL_SETS: the file is not TOML: {error}") from None
    sets = {name: each.named(name) for name, each in written.items()}
    for name, each in sets.items():
        for rule in each.rules:
            if unknown := sorted(rule.labels - set(each.labels)):
                raise ModelBroken(
                    f"SIGHTLINE_LABEL_SETS: {name}.rules.{rule.name} names {unknown[0]!r}, "
                    f"which is none of the set's labels: {', '.join(each.labels)}"
                )
    return sets


def _plain(rule: LabelRule) -> list[Any]:
    return [rule.name, rule.any_above, rule.all_below]


MODELS = (ModelDefinition(CARD, connect=connect),)
