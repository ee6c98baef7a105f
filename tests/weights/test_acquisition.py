"""Cases of putting a model together that the store's tests do not meet."""

from __future__ import annotations

import errno

import pytest

from sightline.errors import ConfigurationError, SourceMissing, WeightsError
from sightline.types import Provenance
from sightline.weights.sources import Built


def _copy(inputs, output, report):
    output.write_bytes(b"".join(path.read_bytes() for path in inputs.values()))


@pytest.fixture
def built(wanted, artifact):
    """A card of one built file over one intermediate file."""

    def make(build=_copy, **raw):
        table = artifact("table.npy", Built(("raw.bin",), build))
        return wanted(table, artifact("raw.bin", intermediate=True, **raw))

    return make


def test_finished_downloads_survive_a_failure(store, wanted, hub):
    hub.put("a", b"first")
    with pytest.raises(SourceMissing, match=r"missing b; tried hub file org/repo/b at main \(no such file"):
        store.pull(wanted("a", "b"))
    hub.put("b", b"second")
    hub.seen.clear()
    pulled = store.pull(wanted("a", "b"))
    assert [request.path[-1] for request in hub.seen] == ["b"]
    assert pulled.files["a"].read_bytes() == b"first"


def test_a_finished_download_that_was_tampered_with_is_fetched_again(
    store, wanted, artifact, hub, root, sha256
):
    hub.put("a", b"first")
    card = wanted(artifact("a", sha256=sha256(b"first")), "b")
    with pytest.raises(SourceMissing):
        store.pull(card)
    for path in (root / ".partial" / "demo").iterdir():
        path.write_bytes(b"evil!")
    hub.put("b", b"second")
    assert store.pull(card).files["a"].read_bytes() == b"first"


def test_building_comes_after_every_download(store, wanted, artifact, hub):
    hub.put("raw", b"raw")
    calls = []
    card = wanted(artifact("table.npy", Built(("raw",), lambda *args: calls.append(args))), "raw", "gone")
    with pytest.raises(SourceMissing, match=r"missing gone, table\.npy; for gone tried"):
        store.pull(card)
    assert calls == []


def test_what_a_missing_input_keeps_from_being_built(store, built):
    with pytest.raises(SourceMissing, match=r"missing table\.npy; tried hub file org/repo/raw\.bin"):
        store.pull(built())


@pytest.mark.parametrize("allowed_provenance", [Provenance.RANDOM, Provenance.EXPORTED])
def test_adopted_inputs_are_built_from(store, built, tmp_path, allowed_provenance, hub):
    (tmp_path / "raw.bin").write_bytes(b"mine")
    adopted = store.adopt(built(sha256="0" * 64), tmp_path, allowed_provenance, "elsewhere")
    assert adopted.files["table.npy"].read_bytes() == b"mine"
    assert adopted.manifest.files["table.npy"].inputs == {}
    assert hub.seen == []


def test_a_new_pin_of_an_input_makes_the_built_file_stale(store, built, hub, sha256):
    place = hub.put("raw.bin", b"old")
    store.pull(built())
    assert store.installed(built(sha256=sha256(b"old"))) is not None
    hub.files[place] = b"new"
    card = built(sha256=sha256(b"new"))
    assert store.installed(card) is None
    assert store.pull(card).files["table.npy"].read_bytes() == b"new"


def test_a_build_that_fails_is_told_with_its_reason(store, built, hub):
    hub.put("raw.bin", b"raw")

    def broken(inputs, output, report):
        raise KeyError("weight")

    with pytest.raises(WeightsError, match=r"building table\.npy of demo failed: KeyError: 'weight'"):
        store.pull(built(broken))
    with pytest.raises(WeightsError, match="wrote no file"):
        store.pull(built(lambda *_: None))
    assert store.pull(built()).files["table.npy"].read_bytes() == b"raw"


def test_a_full_disk_while_building(store, built, hub):
    hub.put("raw.bin", b"raw")

    def full(inputs, output, report):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    with pytest.raises(WeightsError, match=r"^the disk is full; table\.npy does not fit$"):
        store.pull(built(full))


def test_cards_that_cannot_be_built(store, wanted, artifact):
    with pytest.raises(ConfigurationError, match=r"a of demo is built from itself"):
        store.pull(wanted(artifact("a", Built(("b",), _copy)), artifact("b", Built(("a",), _copy))))
    with pytest.raises(ConfigurationError, match=r"built from unknown c"):
        store.pull(wanted(artifact("a", Built(("c",), _copy))))


def test_offline_what_is_there_can_still_be_built(make_store, built, hub, no_sockets, root, tmp_path):
    """A build needs no network; only what it is made from might."""
    (tmp_path / "raw.bin").write_bytes(b"mine")
    adopted = make_store(offline=True).adopt(built(), tmp_path, Provenance.EXPORTED, "elsewhere")
    assert adopted.files["table.npy"].read_bytes() == b"mine"
    assert no_sockets == []
