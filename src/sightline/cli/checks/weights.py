"""Models: which are ready, and how to get those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sightline.cli.checks import Finding, State
from sightline.cli.models.choosing import catalogue, is_random, open_store, store_of_any_weights, wanted
from sightline.errors import ConfigurationError

if TYPE_CHECKING:
    from sightline.models import ModelDefinition
    from sightline.settings import Settings
    from sightline.weights.store import Installed

_AREA = "models"


def check(settings: Settings) -> Iterator[Finding]:
    from sightline import operations

    try:
        definitions = catalogue(settings).values()
        asked = operations.catalogue(settings.plugins_dir)
    except ConfigurationError as error:
        yield Finding(_AREA, "plug-ins", State.BROKEN, str(error), "correct or remove the plug-in")
        return
    for definition in definitions:
        yield _model(settings, definition)
    given = {capability for definition in definitions for capability in definition.card.capabilities}
    for operation in asked.values():
        if operation.needs and not given.intersection(operation.needs):
            needs = " or ".join(capability.value for capability in operation.needs)
            yield Finding(
                _AREA, operation.name, State.NOTICE, f"needs {needs}, which no model here gives",
                "install or plug in a model that does",
            )  # fmt: skip


def _model(settings: Settings, definition: ModelDefinition) -> Finding:
    name, want = definition.name, wanted(definition)
    get = _way_in(settings, definition)
    if definition.connect is not None:
        if lacking := definition.lacking(settings):
            return Finding(_AREA, name, State.NOTICE, "not configured", lacking)
        try:
            definition.check(settings)
        except ConfigurationError as error:
            return Finding(_AREA, name, State.BROKEN, str(error), "correct what the setting names")
        return Finding(_AREA, name, State.OK, "configured")
    if not definition.card.artifacts:
        return Finding(_AREA, name, State.OK, "ready; needs no files")
    installed = open_store(settings).installed(want)
    if is_random(installed):
        return Finding(_AREA, name, State.NOTICE, "random weights: its answers mean nothing", get)
    if installed is not None:
        return _ready(settings, definition, installed)
    if store_of_any_weights(settings).installed(want) is not None:
        return Finding(
            _AREA, name, State.NOTICE, "missing; random weights are here and may not be loaded",
            f"{get} (or, for a test: SIGHTLINE_ALLOW_RANDOM_WEIGHTS=1)",
        )  # fmt: skip
    return Finding(_AREA, name, State.NOTICE, "missing", get)


def _ready(settings: Settings, definition: ModelDefinition, installed: Installed) -> Finding:
    """Of a detector also in which precision it is served, and why."""
    from sightline.runtime.precision import choose, obeys_choice

    text = f"ready; {installed.provenance.value}, fingerprint {installed.fingerprint}"
    if not obeys_choice(definition.card):
        return Finding(_AREA, definition.name, State.OK, text)
    choice = choose(settings, installed)
    text = f"{text}; computes in {choice.precision.value}: {choice.why}"
    if choice.complaint is None:
        return Finding(_AREA, definition.name, State.OK, text)
    fix = f"sightline models drift {definition.name} PHOTOS --keep"
    return Finding(_AREA, definition.name, State.NOTICE, text, fix)


def _way_in(settings: Settings, definition: ModelDefinition) -> str:
    from sightline.weights.sources import Exported

    if settings.offline:
        return f"sightline models import M.tar, made by: sightline models bundle M.tar {definition.name}"
    for artifact in definition.card.artifacts:
        if all(isinstance(source, Exported) for source in artifact.sources):
            return f"sightline models export {definition.name}"
    return f"sightline models pull {definition.name}"
