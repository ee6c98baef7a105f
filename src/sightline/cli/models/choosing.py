"""Models by the names people type."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.errors import InvalidRequest, UnknownModel

if TYPE_CHECKING:
    from sightline.models import Catalogue, ModelDefinition
    from sightline.settings import Settings
    from sightline.weights.store import Installed, Store, Wanted

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", show_default=False, help="Models, as [cyan]sightline models list[/] names them."
    ),
]
NamesOrPurposes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        show_default=False,
        help="Models, or what they are for: an operation or a word such as wildlife",
    ),
]
EveryModel = Annotated[bool, typer.Option("--all", help="Every model there is.")]


def catalogue(settings: Settings) -> Catalogue:
    from sightline import models

    return models.catalogue(settings.plugins_dir)


def chosen(
    settings: Settings, names: Sequence[str], *, everything: bool, by_purpose: bool = False
) -> list[ModelDefinition]:
    """The models named, or all of them. With ``by_purpose``, names may be what models are for; without any
    name the models come that the operations use by default.

    Raises:
        UnknownModel: no model has that name; the message says which come close.
        InvalidRequest: no name, or names together with ``everything``.
    """
    known = catalogue(settings)
    if everything:
        if names:
            raise InvalidRequest("name models or say --all, not both")
        return list(known.values())
    if not names and by_purpose:
        return [known[name] for name in _used_by_default(settings, known)]
    if not names:
        raise InvalidRequest(f"which models? Name some of {', '.join(known)}, or say --all")
    models: dict[str, tuple[str, ...]] = {name: (name,) for name in known}
    if by_purpose and not known.keys() >= set(names):
        models = {**_purposes(settings, known), **models}
    found: dict[str, None] = {}
    for name in names:
        word = name if name in models else name.replace("-", "_")
        if word not in models:
            close = get_close_matches(name, models, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(models)}"
            raise UnknownModel(f"there is no model {name!r}; {hint}")
        found.update(dict.fromkeys(models[word]))
    return [known[name] for name in found]


def _used_by_default(settings: Settings, known: Catalogue) -> list[str]:
    from sightline import operations
    from sightline.runtime.readiness import readiness

    asked = operations.catalogue(settings.plugins_dir).values()
    entries = readiness(asked, known, open_store(settings), settings)
    names = dict.fromkeys(name for entry in entries for name in entry.models)
    return [name for name in names if known[name].connect is None]


def _purposes(settings: Settings, known: Catalogue) -> dict[str, tuple[str, ...]]:
    from sightline import operations
    from sightline.runtime.readiness import purposes

    return purposes(operations.catalogue(settings.plugins_dir).values(), known, settings)


def wanted(definition: ModelDefinition) -> Wanted:
    from sightline.runtime import residency

    return residency.wanted(definition)


def open_store(settings: Settings) -> Store:
    from sightline.weights.store import Store

    return Store.from_settings(settings)


def store_of_any_weights(settings: Settings) -> Store:
    """A store that also sees random weights, to say that they are there."""
    return open_store(settings.model_copy(update={"allow_random_weights": True}))


def is_random(installed: Installed | None) -> bool:
    from sightline.types import Provenance

    return installed is not None and installed.provenance is Provenance.RANDOM
