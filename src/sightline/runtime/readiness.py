"""The operations that can answer now, and what the others need first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.capabilities import Capability
from sightline.errors import ModelUnavailable, UnknownModel
from sightline.models import Catalogue
from sightline.operations import Operation
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.directory import Directory
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.weights.store import Store


@dataclass(frozen=True, slots=True)
class Readiness:
    """The needs of a request with default parameters.

    Attributes:
        models: names of the models that it may use.
        missing: those of them whose files are not installed.
        download_bytes: bytes to download for ``missing``; None if a size is unknown.
        download: the same in words, "over 505 MB" if a size is unknown.
        lacking: what has to be set first, such as an API key; None if nothing has to be.
    """

    operation: str
    models: tuple[str, ...]
    missing: tuple[str, ...]
    download_bytes: int | None
    lacking: str | None
    download: str = ""

    @property
    def ready(self) -> bool:
        """Whether a request is answered without a download or a change of settings."""
        return not self.missing and self.lacking is None


def readiness(
    operations: Iterable[Operation[Any, Any]], catalogue: Catalogue, store: Store, settings: Settings
) -> list[Readiness]:
    """Look at the disk and the settings, and return one entry per operation, in their order."""
    directory = Directory(catalogue, settings)
    installed = {
        name: definition.connect is not None or store.installed(wanted(definition)) is not None
        for name, definition in catalogue.items()
    }
    return [_of(operation, directory, catalogue, installed) for operation in operations]


def readiness_of(analyzer: Analyzer) -> list[Readiness]:
    """Return :func:`readiness` for the operations, models and settings of an analyzer."""
    return readiness(analyzer.operations.values(), analyzer.models, analyzer.store, analyzer.settings)


def summary(entries: Iterable[Readiness]) -> list[str]:
    """Return up to three lines for people: what answers now, what downloads first, what needs a setting."""
    entries = list(entries)
    coming = [entry for entry in entries if entry.missing and entry.lacking is None]
    lines = {
        "answers now": [entry.operation for entry in entries if entry.ready],
        "downloads at first use": [operations_with_size(coming)] if coming else [],
        "needs a setting": [f"{entry.operation} ({entry.lacking})" for entry in entries if entry.lacking],
    }
    return [f"{title}: {', '.join(listed)}" for title, listed in lines.items() if listed]


def operations_with_size(entries: Iterable[Readiness]) -> str:
    """Return the operations with the sizes of their downloads; those that need the same models share one."""
    together: dict[tuple[str, ...], list[Readiness]] = {}
    for entry in entries:
        together.setdefault(tuple(sorted(entry.missing)), []).append(entry)
    return ", ".join(
        f"{' / '.join(entry.operation for entry in group)} ({group[0].download})"
        for group in together.values()
    )


def download_bytes(catalogue: Catalogue, names: Iterable[str]) -> int | None:
    """Return the bytes to download for these models, files that they share counted once; None if unknown."""
    known, complete = _known_bytes(catalogue, names)
    return known if complete else None


def download_words(catalogue: Catalogue, names: Iterable[str]) -> str:
    """Return the size of the download for people, such as "605 MB", or "over 505 MB" if a size is unknown."""
    known, complete = _known_bytes(catalogue, names)
    if not known and not complete:
        return "size unknown"
    size = f"{known / 1e6:,.0f} MB" if known < 1e9 else f"{known / 1e9:,.2f} GB"
    return size if complete else f"over {size}"


def _known_bytes(catalogue: Catalogue, names: Iterable[str]) -> tuple[int, bool]:
    """The sizes that are known together, and whether these are all."""
    sizes: dict[str, int | None] = {}
    for name in names:
        for artifact in catalogue[name].card.artifacts:
            if artifact.is_downloaded:
                sizes[artifact.identity] = artifact.size_bytes
    return sum(size or 0 for size in sizes.values()), None not in sizes.values()


def purposes(
    operations: Iterable[Operation[Any, Any]], catalogue: Catalogue, settings: Settings
) -> dict[str, tuple[str, ...]]:
    """Return models by what they are for: operations and their other words, then capabilities.

    They are those that a request with default parameters needs. Of models that need a setting first all are
    listed.
    """
    directory = Directory(catalogue, settings)
    found: dict[str, dict[str, None]] = {}
    for operation in operations:
        models = [
            name
            for capability in operation.default_needs
            for name in _defaults(capability, operation.default_spaces.get(capability), directory, catalogue)
        ]
        for word in (operation.name, *operation.purposes):
            found.setdefault(word, {}).update(dict.fromkeys(models))
    given = {each.name: each for model in catalogue.values() for each in model.card.capabilities}
    for _, capability in sorted(given.items()):
        found.setdefault(capability.name, dict.fromkeys(_defaults(capability, None, directory, catalogue)))
    return {word: tuple(models) for word, models in found.items() if models}


def _defaults(
    capability: Capability[Any, Any], space: str | None, directory: Directory, catalogue: Catalogue
) -> list[str]:
    try:
        return [directory.find(capability, space)]
    except (ModelUnavailable, UnknownModel):
        return [name for name, model in catalogue.items() if capability in model.card.capabilities]


def _of(
    operation: Operation[Any, Any],
    directory: Directory,
    catalogue: Catalogue,
    installed: Mapping[str, bool],
) -> Readiness:
    models: list[str] = []
    lacking: str | None = None
    for capability in operation.default_needs:
        try:
            models.append(directory.find(capability, operation.default_spaces.get(capability)))
        except (ModelUnavailable, UnknownModel):
            lacking = directory.lacking(capability)
    missing = tuple(name for name in models if not installed[name])
    return Readiness(
        operation.name,
        tuple(models),
        missing,
        download_bytes(catalogue, missing),
        lacking,
        download_words(catalogue, missing),
    )
