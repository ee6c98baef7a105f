"""Rehearsals: every operation answers without a download, and every answer says that it is made up."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from sightline.models import Catalogue, ModelDefinition
from sightline.settings import Settings
from sightline.weights.sources import Recipe

# Small enough for every model to be written and loaded within seconds on two cores.
RECIPE = Recipe(seed=0, size="tiny")


class Rehearsal:
    """The settings and models of a rehearsal. Its files are in a folder of its own, removed by ``close``."""

    def __init__(self, settings: Settings) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sightline-rehearsal-")
        self.settings = settings.model_copy(
            update={
                "models_dir": Path(self._folder.name),
                "offline": True,
                "auto_pull": False,
                "allow_random_weights": True,
                "idle_unload_s": 0.0,
            }
        )

    def close(self) -> None:
        """Delete the made-up files."""
        self._folder.cleanup()


def rehearsed(catalogue: Catalogue) -> Catalogue:
    """Return the models with what settings connect to replaced by what stands in for it."""
    return {name: _rehearsed(definition) for name, definition in catalogue.items()}


def _rehearsed(definition: ModelDefinition) -> ModelDefinition:
    if definition.made_up is None:
        return definition
    return replace(
        definition,
        load=None,
        connect=definition.made_up,
        lacking=lambda settings: None,
        check=lambda settings: None,
    )
