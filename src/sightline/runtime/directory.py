"""Which models there are, by capability. Answers ``operations.Models`` without an engine."""

from __future__ import annotations

from typing import Any

from sightline.capabilities import Capability
from sightline.errors import ConfigurationError, ModelUnavailable, UnknownModel
from sightline.models import Catalogue, ModelCard, ModelDefinition
from sightline.settings import Settings


class Directory:
    """The catalogue under the settings of one process. Built once, at start; it remembers its answers."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        """Raises ConfigurationError: the settings prefer a model that there is not."""
        self._catalogue = catalogue
        self._preferred = frozenset(_known(settings.prefer, catalogue, "SIGHTLINE_PREFER"))
        self._found: dict[tuple[str, str | None], str] = {}
        self._lacking = {name: definition.lacking(settings) for name, definition in catalogue.items()}

    def find(self, capability: Capability[Any, Any], space: str | None = None) -> str:
        """Return the name of the first model with ``capability``, in ``space`` if given.

        Raises:
            UnknownModel: no model with the capability is in ``space``.
            ModelUnavailable: no model has it, or none that is configured; the message says what to set.
        """
        key = capability.name, space
        if key not in self._found:
            self._found[key] = self._find(capability, space)
        return self._found[key]

    def _find(self, capability: Capability[Any, Any], space: str | None) -> str:
        able = self._able(capability)
        if able and space is None and (lacking := self.lacking(capability)):
            raise ModelUnavailable(f"no model that gives {capability.name} is configured: {lacking}")
        for card in able:
            if space is None or (card.space or card.name) == space:
                return card.name
        if space is not None and able:
            spaces = ", ".join(sorted({card.space or card.name for card in able}))
            raise UnknownModel(f"no model {space!r} gives {capability.name}; these do: {spaces}")
        raise ModelUnavailable(f"not available: no installed model gives {capability.name}")

    def has(self, capability: Capability[Any, Any]) -> bool:
        """Whether any model has the capability, configured or not."""
        return any(capability in definition.card.capabilities for definition in self._catalogue.values())

    def lacking(self, capability: Capability[Any, Any]) -> str | None:
        """Return what has to be set before any model gives ``capability``, or None if nothing has to be."""
        names = [card.name for card in self._able(capability)]
        missing = [f"{text} for {name}" for name in names if (text := self._lacking[name])]
        if len(missing) < len(names):
            return None
        return ", or ".join(missing) or f"install a model that gives {capability.name}"

    def similarity_scale(self, model: str) -> float | None:
        """Return the factor on the card of ``model``, or None if it has none."""
        return self._catalogue[model].card.similarity_scale

    def _able(self, capability: Capability[Any, Any]) -> list[ModelCard]:
        """Cards of the models with ``capability``; those that are not configured come last.

        Models that ``SIGHTLINE_PREFER`` names come first. Models that settings connect to come before those
        with files: somebody configured them on purpose.
        """
        able = [each for each in self._catalogue.values() if capability in each.card.capabilities]
        able.sort(key=self._order)
        return [each.card for each in able]

    def _order(self, definition: ModelDefinition) -> tuple[bool, bool, bool, int]:
        return (
            self._lacking[definition.name] is not None,
            definition.name not in self._preferred,
            definition.connect is None,
            definition.card.rank,
        )


def preload_names(settings: Settings, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the models that the settings load at start. Raises ConfigurationError for one there is not."""
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
