"""The models by capability, fixed when the process starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sightline.capabilities import Capability
from sightline.errors import ConfigurationError, ModelUnavailable, UnknownModel
from sightline.models import Catalogue, ModelCard, ModelDefinition
from sightline.settings import Settings


@dataclass(frozen=True, slots=True, init=False)
class Directory:
    """The models of a catalogue under the settings of one process, by capability. Built once, at start."""

    _cards: Mapping[str, ModelCard]
    # Configured models come first.
    _able: Mapping[str, tuple[ModelCard, ...]]
    _lacking: Mapping[str, str | None]

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        """Raises ConfigurationError: the settings prefer a model that there is not."""
        preferred = frozenset(_known(settings.prefer, catalogue, "SIGHTLINE_PREFER"))
        lacking = {name: definition.lacking(settings) for name, definition in catalogue.items()}

        def order(definition: ModelDefinition) -> tuple[bool, bool, bool, int]:
            """Models that settings connect to come before those with files: somebody configured them."""
            name = definition.name
            is_file = definition.connect is None
            return lacking[name] is not None, name not in preferred, is_file, definition.card.rank

        able: dict[str, list[ModelCard]] = {}
        for definition in sorted(catalogue.values(), key=order):
            for capability in definition.card.capabilities:
                able.setdefault(capability.name, []).append(definition.card)
        object.__setattr__(self, "_cards", {name: each.card for name, each in catalogue.items()})
        object.__setattr__(self, "_able", {name: tuple(cards) for name, cards in able.items()})
        object.__setattr__(self, "_lacking", lacking)

    def find(self, capability: Capability[Any, Any], space: str | None = None) -> str:
        """Return the name of the first model with ``capability``, in ``space`` if given.

        Raises:
            UnknownModel: no model with the capability is in ``space``.
            ModelUnavailable: no model has it, or none that is configured; the message says what to set.
        """
        able = self._able.get(capability.name, ())
        for card in able:
            if (card.space or card.name) == space or (space is None and self._lacking[card.name] is None):
                return card.name
        if not able:
            raise ModelUnavailable(f"not available: no installed model gives {capability.name}")
        if space is None:
            raise ModelUnavailable(
                f"no model that gives {capability.name} is configured: {self.lacking(capability)}"
            )
        spaces = ", ".join(sorted({card.space or card.name for card in able}))
        raise UnknownModel(f"no model {space!r} gives {capability.name}; these do: {spaces}")

    def has(self, capability: Capability[Any, Any]) -> bool:
        """Return whether any model has the capability, configured or not."""
        return capability.name in self._able

    def lacking(self, capability: Capability[Any, Any]) -> str | None:
        """Return what has to be set before any model gives ``capability``, or None if nothing has to be."""
        able = self._able.get(capability.name, ())
        missing = [f"{text} for {card.name}" for card in able if (text := self._lacking[card.name])]
        if len(missing) < len(able):
            return None
        return ", or ".join(missing) or f"install a model that gives {capability.name}"

    def similarity_scale(self, model: str) -> float | None:
        """Return the factor on the card of ``model``, or None if it has none."""
        return self._cards[model].similarity_scale


def preload_names(settings: Settings, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the models that the settings load at start. Raise ConfigurationError for an unknown one."""
    if settings.preload == ("all",):
        return tuple(name for name, definition in catalogue.items() if definition.load is not None)
    return _known(settings.preload, catalogue, "SIGHTLINE_PRELOAD", "all")


def _known(names: tuple[str, ...], catalogue: Catalogue, setting: str, *others: str) -> tuple[str, ...]:
    unknown = [name for name in names if name not in catalogue]
    if unknown:
        raise ConfigurationError(
            f"{setting}: unknown model: {', '.join(unknown)}; expected {', '.join((*catalogue, *others))}"
        )
    return names
