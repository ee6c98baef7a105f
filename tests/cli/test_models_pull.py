"""``models pull`` by purpose, from the user's own files, and with made-up weights."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from sightline import capabilities, models, operations
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.geolocation import GEOLOCATION
from sightline.capabilities.places import PLACES
from sightline.capabilities.species import SPECIES, SPECIES_ENSEMBLE
from sightline.cli.models import bars
from sightline.runtime.readiness import purposes
from sightline.settings import Settings
from sightline.weights.sources import Artifact, Built, UrlFile
from sightline.weights.store import Wanted

NUMBERS = b"numbers" * 1000


def state(sightline, name: str = "weighed") -> str:
    rows = json.loads(sightline("models", "list", "--json").stdout)
    return next(row["state"] for row in rows if row["name"] == name)


def test_without_a_name_the_models_come_that_operations_use_by_default(sightline) -> None:
    result = sightline("models", "pull", "--random", "--size", "tiny")
    named = result.stdout + result.stderr
    assert "clip-vit-b-32" in named
    assert "blip-large" not in named


def test_every_operation_and_capability_is_a_purpose() -> None:
    known = operations.catalogue()
    catalogue = models.catalogue()
    found = purposes(known.values(), catalogue, Settings())
    assert {name for name, operation in known.items() if operation.needs} <= found.keys()
    assert set(capabilities.catalogue()) <= found.keys()
    assert {name for named in found.values() for name in named} <= catalogue.keys()
    for operation in known.values():
        for word in operation.purposes:
            assert set(found[operation.name]) <= set(found[word])
            assert word not in catalogue


def test_what_wildlife_and_geolocation_need() -> None:
    found = purposes(operations.catalogue().values(), models.catalogue(), Settings())
    for word, needed in {
        "wildlife": (ANIMAL_BOXES, SPECIES, SPECIES_ENSEMBLE),
        "geolocation": (GEOLOCATION, PLACES),
    }.items():
        given = {c for name in found[word] for c in models.catalogue()[name].card.capabilities}
        assert set(needed) <= given


@pytest.fixture
def weighing(plugins: Path) -> None:
    """An operation that needs the model with weights, and has a word of its own."""
    source = (plugins / "operations" / "echo.py").read_text()
    source = source.replace('"echo"', '"weigh_animals"').replace(
        "needs = ()", "needs = (MEAN,)\n    purposes = ('weights',)\n"
        "    default_spaces = {MEAN: 'weighed'}"
    )  # fmt: skip
    source = "from sightline_plugins.capabilities.mean import MEAN\n" + source
    (plugins / "operations" / "weigh.py").write_text(source)


@pytest.mark.usefixtures("hub", "weighing")
@pytest.mark.parametrize("word", ["weights", "weigh_animals", "weigh-animals"])
def test_pull_by_purpose(sightline, word: str) -> None:
    result = sightline("models", "pull", word)
    assert result.exit_code == 0, result.output
    assert "weighed is here" in result.stdout
    assert state(sightline) == "installed"


@pytest.mark.usefixtures("weighing")
def test_a_word_that_is_almost_one_is_suggested(sightline) -> None:
    result = sightline("models", "pull", "weigts")
    assert result.exit_code == 2
    assert "did you mean weights" in result.stderr


@pytest.mark.usefixtures("weighing")
def test_models_are_removed_by_name_only(sightline) -> None:
    assert sightline("models", "remove", "weights", "--yes").exit_code == 2


def test_pull_from_a_file(sightline, tmp_path: Path) -> None:
    (tmp_path / "renamed.bin").write_bytes(NUMBERS)
    result = sightline("models", "pull", "weighed", "--from", "renamed.bin", "--offline")
    assert result.exit_code == 0, result.output
    assert state(sightline) == "installed"
    assert (tmp_path / "renamed.bin").read_bytes() == NUMBERS


def test_pull_from_a_file_that_changed(sightline, tmp_path: Path) -> None:
    (tmp_path / "numbers.bin").write_bytes(NUMBERS[:-1] + b"!")
    refused = sightline("models", "pull", "weighed", "--from", "numbers.bin")
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert "--any-digest" in line
    taken = sightline("models", "pull", "weighed", "--from", "numbers.bin", "--any-digest")
    assert taken.exit_code == 0, taken.output
    assert state(sightline) == "installed"


def test_pull_from_a_folder_without_the_files(sightline, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    result = sightline("models", "pull", "weighed", "--from", "given")
    assert result.exit_code == 1
    assert "given has no file of weighed; expected numbers.bin (sha256" in result.stderr


@pytest.fixture
def drawn(plugins: Path) -> None:
    """The model with weights also knows how to make them up."""
    path = plugins / "models" / "mean.py"
    draw = "made_up=lambda output, recipe: output.write_text(str(recipe)), size_bytes"
    path.write_text(path.read_text().replace("size_bytes", draw))


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_made_up_weights(sightline, size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = sightline("models", "pull", "weighed", "--random", "--size", size, "--seed", "7")
    assert result.exit_code == 0, result.output
    assert "random weights" in result.stdout
    assert state(sightline) == "random, not allowed"
    written = (tmp_path / "store" / "weighed@random" / "numbers.bin").read_text()
    assert written == f"Recipe(seed=7, size='{size}')"
    monkeypatch.setenv("SIGHTLINE_ALLOW_RANDOM_WEIGHTS", "1")
    assert state(sightline) == "random"


def test_what_cannot_be_made_up_fails(sightline) -> None:
    result = sightline("models", "pull", "weighed", "--random")
    assert result.exit_code == 1
    assert "missing numbers.bin" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--random", "--force"],
        ["--random", "--from", "."],
        ["--size", "tiny"],
        ["--seed", "0"],
        ["--any-digest"],
    ],
)
def test_options_that_contradict_each_other(sightline, arguments: list[str]) -> None:
    assert sightline("models", "pull", "weighed", *arguments).exit_code == 2


def test_several_models_have_a_bar_of_all_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(bars, "stderr", lambda: console)

    def want(model: str, *more: Artifact) -> Wanted:
        checkpoint = Artifact(
            "c", (UrlFile("https://example.org/c"),), sha256="0" * 64, size_bytes=6_000_000, intermediate=True
        )
        graph = Artifact("g", (Built(("c",), lambda inputs, output, report: None),))
        return Wanted(model, (checkpoint, graph, *more), "MIT", "https://example.org", "p")

    one = want("one")
    two = want("two", Artifact("t", (UrlFile("https://example.org/t"),), size_bytes=4_000_000))
    with bars.Bars(one, two) as drawn:
        drawn.of(one)("c", 6_000_000, 6_000_000)
        drawn.of(two)("c", 6_000_000, 6_000_000)  # it was there already
        drawn.of(two)("t", 1_000_000, 4_000_000)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"all downloads\s.*7\.0 MB of 10\.0 MB", shown)
