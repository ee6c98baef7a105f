"""Models: which are ready, and how to get those that are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sightline.cli.checks import Finding, State
from sightline.cli.models.choosing import catalogue, is_random, open_store, store_of_any_weights, wanted
from sightline.errors import ConfigurationError

if TYPE_CHECKING:
    from sightline.models import Catalogue, ModelDefinition
    from sightline.operations import Operation
    from sightline.settings import Settings
    from sightline.weights.store import Installed

_AREA = "models"


def check(settings: Settings) -> Iterator[Finding]:
    from sightline import operations

    try:
        known = catalogue(settings)
        definitions = known.values()
        asked = operations.catalogue(settings.plugins_dir)
    except ConfigurationError as error:
        yield Finding(_AREA, "plug-ins", State.BROKEN, str(error), "correct or remove the plug-in")
        return
    for definition in definitions:
        yield _model(settings, definition)
    yield from _operations(settings, asked.values(), known)


def _operations(
    settings: Settings, asked: Iterable[Operation[Any, Any]], known: Catalogue
) -> Iterator[Finding]:
    """What answers now, what downloads first, what needs a setting: one finding for each."""
    from sightline.runtime.readiness import download_words, operations_with_size, readiness

    entries = readiness(asked, known, open_store(settings), settings)
    if ready := [entry.operation for entry in entries if entry.ready]:
        yield Finding(_AREA, "answer now", State.OK, ", ".join(ready))
    coming = [entry for entry in entries if entry.missing and entry.lacking is None]
    if coming:
        missing = list(dict.fromkeys(name for entry in coming for name in entry.missing))
        text = f"{operations_with_size(coming)}; together {download_words(known, missing)}"
        fix = "sightline models pull"
        if settings.offline:
            names = " ".join(missing)
            fix = f"sightline models import M.tar, made by: sightline models bundle M.tar {names}"
        yield Finding(_AREA, "download first", State.NOTICE, text, fix)
    for entry in entries:
        if entry.lacking is not None:
            yield Finding(_AREA, entry.operation, State.NOTICE, "needs a setting", entry.lacking)


def _model(settings: Settings, definition: ModelDefinition) -> Finding:
    name, want = definition.name, wanted(definition)
    get = _way_in(settings, definition)
    if definition.connect is not None:
        if lacking := definition.lacking(settings):
            return Finding(_AREA, name, State.NOTICE, "not configured", lacking, detail=True)
        try:
            definition.check(settings)
        except ConfigurationError as error:
            return Finding(_AREA, name, State.BROKEN, str(error), "correct what the setting names")
        return Finding(_AREA, name, State.OK, "configured", detail=True)
    if want.is_built_in:
        return Finding(_AREA, name, State.OK, "ready; nothing to download", detail=True)
    store = open_store(settings)
    installed = store.installed(want)
    if store.is_damaged(want):
        fix = f"sightline models pull {name} --force"
        return Finding(_AREA, name, State.BROKEN, "damaged: its manifest cannot be read", fix)
    if is_random(installed):
        return Finding(_AREA, name, State.NOTICE, "random weights: its answers mean nothing", get)
    if installed is not None:
        return _ready(settings, definition, installed)
    if store_of_any_weights(settings).installed(want) is not None:
        return Finding(
            _AREA, name, State.NOTICE, "missing; random weights are here and may not be loaded",
            f"{get} (or, for a test: SIGHTLINE_ALLOW_RANDOM_WEIGHTS=1)",
        )  # fmt: skip
    return Finding(_AREA, name, State.NOTICE, "missing", get, detail=True)


def _ready(settings: Settings, definition: ModelDefinition, installed: Installed) -> Finding:
    """Of a detector also in which precision it is served, and why."""
    from sightline.runtime.precision import choose, obeys_choice

    text = f"ready; {installed.provenance.value}, fingerprint {installed.fingerprint}"
    if not obeys_choice(definition.card):
        return Finding(_AREA, definition.name, State.OK, text, detail=True)
    choice = choose(settings, installed)
    text = f"{text}; computes in {choice.precision.value}: {choice.why}"
    if choice.complaint is None:
        return Finding(_AREA, definition.name, State.OK, text, detail=True)
    fix = f"sightline models drift {definition.name} PHOTOS --keep"
    return Finding(_AREA, definition.name, State.NOTICE, text, fix)


def _way_in(settings: Settings, definition: ModelDefinition) -> str:
    if settings.offline:
        return f"sightline models import M.tar, made by: sightline models bundle M.tar {definition.name}"
    return f"sightline models pull {definition.name}"
