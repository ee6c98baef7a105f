"""Label sets by name: those of ``label_sets.toml`` beside this file and those of the user's own file.

They stand here, among the models, because they come from settings, which operations do not see. A set's
fingerprint is that of all its texts and rules, so that changed words are told from old ones.
"""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sightline.capabilities.label_sets import LABEL_SETS, LabelRule, LabelSet
from sightline.errors import ConfigurationError, InvalidParameters, ModelBroken
from sightline.labels import Label, Text, require_distinct
from sightline.models import Connection, ModelCard, ModelDefinition, Runs
from sightline.settings import Settings
from sightline.types import Provenance

_log = logging.getLogger(__name__)

BUILT_IN = Path(__file__).with_name("label_sets.toml")

CARD = ModelCard(
    name="label-sets",
    capabilities=frozenset({LABEL_SETS}),
    description="Named sets of labels and the texts that describe them, built in and of your own",
    licence="Apache-2.0",
    homepage="https://arxiv.org/abs/2103.00020",
    preprocessing="none",
    parameters=0,
    multiply_adds=0,
    max_batch=64,
    runs=Runs.IN_LOOP,
)

_LABEL_LINE = 'dog = ["a dog", "a puppy on grass"]'


def _as_texts(value: Any) -> Any:
    """A label with one text may have it without brackets, as in requests."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise PydanticCustomError("texts", "a label has a text or a list of texts, as in " + _LABEL_LINE)
    return value


def _as_labels(value: Any) -> Any:
    if not isinstance(value, dict):
        raise PydanticCustomError("labels", "each label needs a line with its texts, as in " + _LABEL_LINE)
    return value


def _as_set(value: Any) -> Any:
    if not isinstance(value, dict) or "labels" not in value:
        raise PydanticCustomError(
            "set", "a set needs a table [name-of-the-set.labels] with lines such as " + _LABEL_LINE
        )
    return value


Prompts = Annotated[list[Text], Field(min_length=1), BeforeValidator(_as_texts)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    any_above: dict[Label, Share] = {}
    all_below: dict[Label, Share] = {}

    @model_validator(mode="after")
    def _asks_something(self) -> _Rule:
        if not self.any_above and not self.all_below:
            raise PydanticCustomError(
                "rule", "a rule needs any_above or all_below: without conditions it says yes to every picture"
            )
        return self


class _Set(BaseModel):
    model_config = ConfigDict(extra="forbid")
    description: str = ""
    labels: Annotated[dict[Label, Prompts], Field(min_length=2), BeforeValidator(_as_labels)]
    rules: dict[Label, _Rule] = {}

    @model_validator(mode="after")
    def _labels_differ(self) -> _Set:
        require_distinct(self.labels)
        return self

    def named(self, name: str) -> LabelSet:
        rules = tuple(
            LabelRule(rule, tuple(each.any_above.items()), tuple(each.all_below.items()))
            for rule, each in self.rules.items()
        )
        return LabelSet(name, tuple((label, tuple(texts)) for label, texts in self.labels.items()), rules)


_File = TypeAdapter(dict[Label, Annotated[_Set, BeforeValidator(_as_set)]])


class LabelSets:
    """Names to sets. ``trouble``: what is wrong with the user's file, whose sets are not there then."""

    def __init__(self, sets: Mapping[str, LabelSet], trouble: str | None = None) -> None:
        self._sets = dict(sets)
        self._trouble = trouble

    def prepare(self, subject: str) -> LabelSet:
        """Raises InvalidParameters: there is no such set. ModelBroken: it may be in a file that is wrong."""
        found = self._sets.get(subject)
        if found is not None:
            return found
        missing = f"there is no label set {subject[:100]!r}"
        if self._trouble is not None:
            raise ModelBroken(
                f"{missing} among those built in; others cannot be used until this is mended and the "
                f"program started again: {self._trouble}"
            )
        raise InvalidParameters(f"{missing}; there are {', '.join(self._sets)}")

    def infer(self, items: Sequence[LabelSet]) -> Sequence[LabelSet]:
        return items


def check(settings: Settings) -> None:
    """Read the user's file, if there is one, for its mistakes to be told at start.

    Raises:
        ConfigurationError: it cannot be read, or holds what is no label set; the message says what.
    """
    _own(settings)


def connect(settings: Settings) -> Connection:
    """Read both files. A mistake in the user's, made after the start, does no harm to the built-in sets."""
    sets, trouble = _read(BUILT_IN), None
    try:
        sets |= _own(settings)
    except ConfigurationError as error:
        trouble = str(error)
        _log.warning("only built-in label sets can be used: %s", trouble)
    described = {name: [each.prompts, [_plain(rule) for rule in each.rules]] for name, each in sets.items()}
    return Connection(LabelSets(sets, trouble), json.dumps(described), Provenance.BUILT_IN)


def _own(settings: Settings) -> dict[str, LabelSet]:
    """The user's sets. Raises ConfigurationError."""
    if settings.label_sets is None:
        return {}
    try:
        own = _read(_at_home(settings.label_sets))
        if taken := sorted(_read(BUILT_IN).keys() & own.keys()):
            raise ValueError(f"the name {taken[0]!r} is taken by a built-in label set")
    except OSError as error:
        raise _mistake(f"the file cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise _mistake(f"{where}: {problem['msg']}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _mistake(f"the file is not TOML: {error}") from None
    except ValueError as error:
        raise _mistake(str(error)) from None
    return own


def _at_home(path: Path) -> Path:
    """With the home folder in place of ``~``, which no shell replaces in a ``.env`` file."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"the file cannot be read: {error}") from None


def _mistake(message: str) -> ConfigurationError:
    return ConfigurationError(f"SIGHTLINE_LABEL_SETS: {message}")


def _read(path: Path) -> dict[str, LabelSet]:
    """The sets of a file. Raises OSError, ValueError and what is derived from it."""
    # Windows' editor begins files with a byte order mark.
    written = _File.validate_python(tomllib.loads(path.read_text("utf-8-sig")))
    sets = {name: each.named(name) for name, each in written.items()}
    for name, each in sets.items():
        for rule in each.rules:
            if unknown := sorted(rule.labels - set(each.labels)):
                raise ValueError(
                    f"{name}.rules.{rule.name} names {unknown[0]!r}, "
                    f"which is none of the set's labels: {', '.join(each.labels)}"
                )
    return sets


def _plain(rule: LabelRule) -> list[Any]:
    return [rule.name, rule.any_above, rule.all_below]


MODELS = (ModelDefinition(CARD, connect=connect, check=check),)
