from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sightline.errors import (
    DigestMismatch,
    OfflineRefused,
    SourceMissing,
    SourceUnreachable,
    UnknownModel,
    WeightsError,
)
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.sources import Artifact, Built, HubFile, UrlFile
from sightline.weights.store import Store

MODEL = random.Random(2).randbytes(200_000)

# Run as another process: pulls the model the other arguments describe and prints its fingerprint.
PULLER = """
import sys
from pathlib import Path
from sightline.weights.sources import Artifact, HubFile
from sightline.weights.store import Store, Wanted
root, endpoint = sys.argv[1:]
artifact = Artifact("model.onnx", (HubFile("org/repo", "model.onnx"),))
wanted = Wanted("demo", (artifact,), "MIT", "https://example.org/demo", "square-224")
store = Store(Path(root), offline=False, hub_endpoint=endpoint, hub_token=None, allow_random=False)
def report(label, done, total):
    print(done, flush=True)
print(store.pull(wanted, report).fingerprint)
"""


@pytest.fixture
def place(hub):
    hub.put("config.json", b"{}")
    return hub.put("model.onnx", MODEL)


@pytest.fixture
def card(wanted):
    return wanted("model.onnx", "config.json")


@pytest.fixture
def start_puller(root, hub):
    started = []

    def start():
        command = [sys.executable, "-c", PULLER, str(root), hub.url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_pulled_model_is_installed_with_a_manifest(store, card, place, root, sha256):
    assert store.installed(card) is None
    pulled = store.pull(card)
    assert store.installed(card, verify=True) == pulled
    assert pulled.provenance is Provenance.PULLED
    assert pulled.files["model.onnx"].read_bytes() == MODEL
    assert pulled.manifest.files["model.onnx"].sha256 == sha256(MODEL)
    assert pulled.manifest.files["model.onnx"].source == "hub file org/repo/model.onnx at main"
    assert (pulled.manifest.licence, pulled.manifest.homepage) == ("MIT", "https://example.org/demo")
    assert sorted(path.name for path in (root / "demo").iterdir()) == [
        "config.json",
        "manifest.json",
        "model.onnx",
    ]
    manifest_bytes = (root / "demo" / "manifest.json").stat().st_size
    assert store.disk_bytes("demo") == len(MODEL) + 2 + manifest_bytes


def test_a_second_pull_asks_nobody(store, card, place, hub):
    store.pull(card)
    hub.seen.clear()
    store.pull(card)
    assert hub.seen == []


def test_settings_make_a_store(tmp_path, hub, card, place):
    settings = Settings(models_dir=tmp_path / "elsewhere", hub_endpoint=hub.url, hub_token="hf_secret")
    installed = Store.from_settings(settings).pull(card)
    assert installed.files["model.onnx"] == tmp_path / "elsewhere" / "demo" / "model.onnx"
    assert hub.seen[0].headers["authorization"] == "Bearer hf_secret"


def test_a_model_without_files_is_built_in(store, wanted):
    card = wanted()
    assert store.installed(card).provenance is Provenance.BUILT_IN
    assert store.pull(card).files == {}


def test_a_flipped_byte_is_found_and_repaired(store, card, place):
    path = store.pull(card).files["model.onnx"]
    path.write_bytes(MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    assert store.installed(card) is not None, "a quick look goes by size"
    with pytest.raises(DigestMismatch, match=r"^model\.onnx of demo is not what was installed.*--force`"):
        store.installed(card, verify=True)
    store.pull(card, force=True)
    assert store.installed(card, verify=True).files["model.onnx"].read_bytes() == MODEL


def test_a_missing_file_is_seen_and_only_it_is_fetched_again(store, card, place, hub):
    before = store.pull(card)
    before.files["config.json"].unlink()
    assert store.installed(card) is None
    with pytest.raises(DigestMismatch, match=r"config\.json"):
        store.installed(card, verify=True)
    hub.seen.clear()
    assert store.pull(card).fingerprint == before.fingerprint
    assert [request.path for request in hub.seen] == ["/org/repo/resolve/main/config.json"]


def test_a_damaged_manifest_is_no_installation(store, card, place, root):
    store.pull(card)
    (root / "demo" / "manifest.json").write_bytes(b"{")
    assert store.installed(card) is None
    with pytest.raises(DigestMismatch, match=r"manifest\.json of demo"):
        store.installed(card, verify=True)
    assert store.pull(card).files["model.onnx"].read_bytes() == MODEL


def test_the_first_digest_is_enforced_unless_forced(store, card, place, hub):
    before = store.pull(card)
    before.files["model.onnx"].unlink()
    hub.files[place] = b"something else"
    with pytest.raises(DigestMismatch, match="instead of"):
        store.pull(card)
    assert store.installed(card) is None
    after = store.pull(card, force=True)
    assert after.files["model.onnx"].read_bytes() == b"something else"
    assert after.fingerprint != before.fingerprint


def test_a_card_that_pins_another_digest_wants_another_file(store, card, place, wanted, artifact, sha256):
    store.pull(card)
    pinned = wanted(artifact("model.onnx", sha256=sha256(b"new")), "config.json")
    assert store.installed(pinned) is None
    assert store.installed(wanted(artifact("model.onnx", sha256=sha256(MODEL)), "config.json")) is not None


def test_a_new_preprocessing_tag_is_a_new_fingerprint_of_the_same_files(store, card, place):
    from dataclasses import replace

    before = store.pull(card)
    after = store.installed(replace(card, preprocessing="square-336"))
    assert after.files == before.files
    assert after.fingerprint != before.fingerprint


def test_a_failed_force_leaves_the_model_as_it_was(store, card, place, hub, fault, root, tree):
    store.pull(card)
    before = tree(root / "demo")
    hub.faults[place] = fault(status=404)
    with pytest.raises(SourceMissing):
        store.pull(card, force=True)
    assert tree(root / "demo") == before
    assert store.installed(card, verify=True) is not None


def test_the_next_source_is_tried(store, wanted, artifact, hub, fault, closed_port, sha256):
    hub.files["/mirror"] = MODEL
    for first in (
        UrlFile(f"{closed_port}/file"),
        HubFile("org/gone", "model.onnx"),
        UrlFile(f"{hub.url}/bad"),
    ):
        hub.files["/bad"] = b"wrong bytes"
        card = wanted(artifact("model.onnx", first, UrlFile(f"{hub.url}/mirror"), sha256=sha256(MODEL)))
        assert store.pull(card).files["model.onnx"].read_bytes() == MODEL
        store.remove("demo")


def test_the_one_line_says_what_where_and_how(make_store, closed_port, wanted, artifact):
    began = time.monotonic()
    store = make_store(hub_endpoint=closed_port, patience=None)
    card = wanted(artifact("model.onnx", HubFile("org/repo", "m.onnx", "v1")), "config.json")
    with pytest.raises(SourceUnreachable) as caught:
        store.pull(card)
    assert time.monotonic() - began < 6
    assert str(caught.value) == (
        "demo: missing model.onnx, config.json; for model.onnx tried hub file org/repo/m.onnx at v1 "
        f"({closed_port.removeprefix('http://')} did not answer); bring it in with "
        "`sightline models pull demo` where a network exists, `sightline models pull demo --from PATH` "
        "or `sightline models import BUNDLE`"
    )


def test_what_has_no_source_says_so(store, wanted):
    with pytest.raises(SourceMissing, match=r"model.onnx cannot be downloaded; .*models import BUNDLE`$"):
        store.pull(wanted(Artifact("model.onnx", ())))


def test_the_gravest_failure_names_the_error(store, wanted, artifact, hub):
    hub.files["/bad"] = b"wrong"
    sources = (HubFile("org/gone", "x"), UrlFile(f"{hub.url}/bad"))
    with pytest.raises(DigestMismatch, match=r"no such file \(404\).*its sha256 is"):
        store.pull(wanted(artifact("model.onnx", *sources, sha256="0" * 64)))


def test_offline_opens_no_socket_and_deletes_nothing(make_store, store, card, place, wanted, root, tree, hub):
    store.pull(card)
    (root / ".partial" / "other").mkdir(parents=True)
    (root / ".partial" / "other" / "x.part").write_bytes(b"half")
    before = tree(root)
    with pytest.MonkeyPatch.context() as patch:
        attempts = []
        patch.setattr("socket.socket.connect", lambda *args: attempts.append(args))
        patch.setattr("socket.getaddrinfo", lambda *args: attempts.append(args))
        offline = make_store(offline=True)
        assert offline.installed(card, verify=True) is not None
        assert offline.pull(card).files["model.onnx"].read_bytes() == MODEL
        with pytest.raises(OfflineRefused, match=r"other: missing x; tried .* \(offline mode\); bring it in"):
            offline.pull(wanted("x", model="other"))
        with pytest.raises(OfflineRefused):
            offline.pull(card, force=True)
        with pytest.raises(OfflineRefused):
            offline.remove("demo")
        assert attempts == []
    after = tree(root)
    assert {name: data for name, data in after.items() if not name.startswith(".locks")} == {
        name: data for name, data in before.items() if not name.startswith(".locks")
    }


def test_removing(store, card, place, root):
    store.pull(card)
    store.remove("demo")
    assert store.installed(card) is None
    assert store.disk_bytes("demo") == 0
    store.remove("demo")
    for name in ("../demo", "", "demo@random"):
        with pytest.raises(UnknownModel):
            store.remove(name)
    assert root.is_dir()


def test_a_folder_that_cannot_be_written_is_told(make_store, card, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match="SIGHTLINE_MODELS_DIR"):
        make_store(root=tmp_path / "file").pull(card)


class TestAdopting:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "exported"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"exported")
        (folder / "config.json").write_bytes(b"[]")
        (folder / "log.txt").write_bytes(b"not asked for")
        return folder

    def test_an_exported_model(self, store, card, folder, no_sockets):
        adopted = store.adopt(card, folder, Provenance.EXPORTED, "an earlier version")
        assert store.installed(card, verify=True) == adopted
        assert adopted.provenance is Provenance.EXPORTED
        assert adopted.manifest.origin == "an earlier version"
        assert adopted.files["model.onnx"].read_bytes() == b"exported"
        assert sorted(path.name for path in folder.iterdir()) == ["log.txt"]
        assert no_sockets == []

    def test_a_pin_is_not_for_exported_files(self, store, wanted, artifact, folder):
        card = wanted(artifact("model.onnx", sha256="0" * 64))
        store.adopt(card, folder, Provenance.EXPORTED, "an earlier version")
        assert store.installed(card) is not None

    def test_what_is_not_given_is_pulled(self, store, card, folder, place):
        (folder / "config.json").unlink()
        adopted = store.adopt(card, folder, Provenance.EXPORTED, "an earlier version")
        assert adopted.files["config.json"].read_bytes() == b"{}"
        assert adopted.manifest.files["config.json"].fetched
        assert not adopted.manifest.files["model.onnx"].fetched

    def test_random_weights_are_seen_only_where_allowed(self, make_store, store, card, folder, place, root):
        adopted = store.adopt(card, folder, Provenance.RANDOM, "seed 1")
        assert adopted.files["model.onnx"].parent == root / "demo@random"
        assert store.installed(card) is None
        allowing = make_store(allow_random=True)
        assert allowing.installed(card, verify=True).provenance is Provenance.RANDOM
        assert allowing.pull(card).provenance is Provenance.PULLED, "random weights never stand for real ones"
        assert allowing.installed(card).provenance is Provenance.PULLED
        allowing.remove("demo")
        assert allowing.installed(card) is None

    def test_random_weights_are_never_completed_from_the_network(self, store, card, folder, place, hub):
        (folder / "config.json").unlink()
        with pytest.raises(SourceMissing, match="not used for random weights"):
            store.adopt(card, folder, Provenance.RANDOM, "seed 1")
        assert hub.seen == []

    def test_random_weights_leave_a_half_finished_download_alone(self, store, card, folder, root):
        part = root / ".partial" / "demo" / "x.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half")
        store.adopt(card, folder, Provenance.RANDOM, "seed 1")
        assert part.read_bytes() == b"half"

    def test_nothing_or_no_plain_file(self, store, card, folder, tmp_path):
        with pytest.raises(SourceMissing, match="none of its files"):
            store.adopt(card, tmp_path, Provenance.EXPORTED, "an earlier version")
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to("/etc/hostname")
        with pytest.raises(SourceMissing, match="not a plain file"):
            store.adopt(card, folder, Provenance.EXPORTED, "an earlier version")

    def test_pulling_what_is_missing_keeps_the_provenance(self, store, wanted, card, folder, place):
        (folder / "config.json").unlink()
        store.adopt(wanted("model.onnx"), folder, Provenance.EXPORTED, "an earlier version")
        pulled = store.pull(card)
        assert (pulled.provenance, pulled.manifest.origin) == (Provenance.EXPORTED, "an earlier version")
        assert pulled.files["model.onnx"].read_bytes() == b"exported"


class TestProcesses:
    def test_two_processes_download_once(self, hub, place, start_puller, fault):
        hub.faults[place] = fault(piece_delay_s=0.05)
        first, second = start_puller(), start_puller()
        outputs = [process.communicate(timeout=30) for process in (first, second)]
        assert [errors for _, errors in outputs] == ["", ""]
        fingerprints = {output.split()[-1] for output, _ in outputs}
        assert len(fingerprints) == 1
        assert [request.sent for request in hub.seen] == [len(MODEL)]

    def test_threads_of_one_process_download_once(self, store, card, place, hub, fault):
        hub.faults[place] = fault(piece_delay_s=0.01)
        barrier = threading.Barrier(4)

        def pull(_):
            barrier.wait()
            return store.pull(card).fingerprint

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(pull, range(4)))) == 1
        assert len(hub.seen) == 2

    def test_a_killed_download_goes_on_where_it_was(self, hub, place, start_puller, fault, store, wanted):
        hub.faults[place] = fault(piece_delay_s=0.1)
        process = start_puller()
        done = 0
        while done < 60_000:
            done = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert store.installed(wanted("model.onnx")) is None
        hub.faults.clear()
        hub.seen.clear()
        pulled = store.pull(wanted("model.onnx"))
        assert pulled.files["model.onnx"].read_bytes() == MODEL
        assert hub.seen[0].status == 206
        assert hub.seen[0].sent <= len(MODEL) - done + 16384
        assert store.disk_bytes("demo") < len(MODEL) + 2000, "nothing is left over"

    def test_who_waits_is_told(self, hub, place, start_puller, fault, store, wanted):
        hub.faults[place] = fault(piece_delay_s=0.05)
        process = start_puller()
        process.stdout.readline()
        told = []
        store.pull(wanted("model.onnx"), lambda *args: told.append(args))
        assert told == [("waiting for another process to install demo", 0, None)]


def test_a_built_file_is_made_from_an_intermediate_one(store, wanted, artifact, hub, root):
    hub.put("raw.bin", b"abc")
    calls = []

    def build(inputs, output, report):
        calls.append(sorted(inputs))
        report("building", 1, 1)
        output.write_bytes(inputs["raw.bin"].read_bytes()[::-1])

    card = wanted(
        artifact("table.npy", Built(("raw.bin",), build)), artifact("raw.bin", intermediate=True), "raw.bin2"
    )
    hub.put("raw.bin2", b"x")
    pulled = store.pull(card)
    assert set(pulled.files) == {"table.npy", "raw.bin2"}
    assert pulled.files["table.npy"].read_bytes() == b"cba"
    assert calls == [["raw.bin"]]
    assert not (root / "demo" / "raw.bin").exists()
    assert not list((root / ".partial").rglob("*"))
