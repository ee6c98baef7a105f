from __future__ import annotations

import time
import zipfile

import pytest

from sightline.errors import DigestMismatch, OfflineRefused, SourceMissing, SourceUnreachable
from sightline.types import Provenance
from sightline.weights.sources import Built, HubFile, WheelFile
from sightline.weights.wheels import fetch_member

PNET = WheelFile("facenet-pytorch", "2.5.3", "facenet_pytorch/data/pnet.pt")
PNET_SHA256 = "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"
TOY = WheelFile("toy-weights", "1.0", "toy/weights.bin")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes its wheels from, as on a machine whose user configured it so."""
    folder = tmp_path / "index"
    folder.mkdir()
    metadata = "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Python: <3\n"
    with zipfile.ZipFile(folder / "toy_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy/weights.bin", b"weights")
        wheel.writestr("toy/more.bin", b"more")
        wheel.writestr("toy_weights-1.0.dist-info/METADATA", metadata)
        wheel.writestr("toy_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("toy_weights-1.0.dist-info/RECORD", "")
    _configure(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder))
    return folder


def _configure(monkeypatch, **variables):
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_released_wheels_file_is_installed(store, wanted, artifact):
    """Through the index this machine is configured for."""
    card = wanted(artifact("pnet.pt", PNET, sha256=PNET_SHA256, size_bytes=28570))
    installed = store.pull(card)
    assert installed.provenance is Provenance.PULLED
    assert installed.manifest.files["pnet.pt"].sha256 == PNET_SHA256
    assert installed.files["pnet.pt"].stat().st_size == 28570
    assert store.disk_bytes("demo") < 40_000, "the wheel itself is not kept"


def test_members_of_one_wheel_share_its_download(index, tmp_path):
    fetch_member(TOY, tmp_path / "weights", tmp_path / "wheels")
    (index / "toy_weights-1.0-py3-none-any.whl").unlink()
    fetch_member(WheelFile("toy-weights", "1.0", "toy/more.bin"), tmp_path / "more", tmp_path / "wheels")
    assert (tmp_path / "weights").read_bytes() == b"weights"
    assert (tmp_path / "more").read_bytes() == b"more"


def test_random_weights_take_their_other_files_from_wheels(index, store, wanted, artifact, hub, tmp_path):
    """A random backbone with its real heads: what lies in a wheel is the same for all weights."""

    def build(inputs, output, report):
        output.write_bytes(inputs["raw.bin"].read_bytes() * 2)
        report("head", 1, 1)

    card = wanted(
        artifact("model.onnx", HubFile("org/repo", "model.onnx")),
        artifact("raw.bin", WheelFile("toy-weights", "1.0", "toy/weights.bin"), intermediate=True),
        artifact("head.bin", Built(("raw.bin",), build)),
    )
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "model.onnx").write_bytes(b"random")
    told = []
    adopted = store.adopt(
        card,
        tmp_path / "given",
        Provenance.RANDOM,
        "seed 1",
        lambda label, done, total: told.append(label),
    )
    assert adopted.provenance is Provenance.RANDOM
    assert adopted.files["model.onnx"].read_bytes() == b"random"
    assert adopted.files["head.bin"].read_bytes() == b"weightsweights"
    assert told == ["raw.bin", "raw.bin", "head"]
    assert hub.seen == []


def test_what_is_not_there_is_missing(index, tmp_path):
    with pytest.raises(SourceMissing, match="no such release"):
        fetch_member(WheelFile("toy-weights", "9.9", "x"), tmp_path / "x", tmp_path / "wheels")
    with pytest.raises(SourceMissing, match="no such file"):
        fetch_member(WheelFile("toy-weights", "1.0", "../x"), tmp_path / "x", tmp_path / "wheels")


def test_a_damaged_wheel_is_thrown_away(index, tmp_path):
    wheel = index / "toy_weights-1.0-py3-none-any.whl"
    intact = wheel.read_bytes()
    assert intact.count(b"weights") > 1
    wheel.write_bytes(intact.replace(b"bin" + b"weights", b"bin" + b"wei9hts", 1))
    with pytest.raises(DigestMismatch, match="damaged"):
        fetch_member(TOY, tmp_path / "x", tmp_path / "wheels")
    wheel.write_bytes(intact)
    fetch_member(TOY, tmp_path / "x", tmp_path / "wheels")


def test_a_file_that_is_not_the_pinned_one_is_not_installed(index, store, wanted, artifact):
    card = wanted(artifact("weights.bin", TOY, sha256="0" * 64))
    with pytest.raises(DigestMismatch, match=r"toy/weights.bin in the wheel toy-weights 1.0"):
        store.pull(card)
    assert store.installed(card) is None


def test_an_index_that_does_not_answer_is_told_in_seconds(closed_port, tmp_path, monkeypatch):
    _configure(monkeypatch, PIP_INDEX_URL=f"{closed_port}/simple")
    began = time.monotonic()
    with pytest.raises(SourceUnreachable, match="cannot reach its package index"):
        fetch_member(TOY, tmp_path / "x", tmp_path / "wheels")
    assert time.monotonic() - began < 6


def test_a_module_in_the_working_directory_is_not_pip(index, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('not the installer')")
    monkeypatch.chdir(tmp_path)
    fetch_member(TOY, tmp_path / "x", tmp_path / "wheels")


def test_offline_starts_no_pip(make_store, wanted, artifact, no_sockets):
    with pytest.raises(OfflineRefused, match=r"weights.bin.*offline mode"):
        make_store(offline=True).pull(wanted(artifact("weights.bin", TOY)))
    assert no_sockets == []
