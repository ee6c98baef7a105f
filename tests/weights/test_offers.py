"""Files of the user's in place of downloads: found by digest, else by name."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from sightline.errors import DigestMismatch, OfflineRefused, SourceMissing
from sightline.types import Provenance
from sightline.weights.offers import Offer
from sightline.weights.sources import ArchiveMember, Built, HubFile, UrlFile

WEIGHTS = bytes(range(256)) * 30


def _convert(inputs, output, report):
    output.write_bytes(b"graph of " + inputs["checkpoint.pt"].read_bytes()[:9])


@pytest.fixture
def card(wanted, artifact, sha256):
    """A checkpoint with a digest, a graph made of it, and labels from the archive of a release."""
    checkpoint = artifact(
        "checkpoint.pt",
        HubFile("org/repo", "sub/weights_v5.pt"),
        UrlFile("https://files.example/weights%5Fv5.pt?x=1"),
        sha256=sha256(WEIGHTS),
        size_bytes=len(WEIGHTS),
        intermediate=True,
    )
    graph = artifact("model.onnx", Built(("checkpoint.pt",), _convert))
    labels = artifact("labels.txt", ArchiveMember("https://files.example/release", "net.labels.txt"))
    return wanted(checkpoint, graph, labels)


@pytest.fixture
def offline(make_store, no_sockets):
    yield make_store(offline=True)
    assert no_sockets == []


def write_folder(folder, weights="weights_v5.pt", labels="net.labels.txt", content=WEIGHTS):
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / weights).write_bytes(content)
    if labels:
        (folder / labels).write_bytes(b"fox\n")
    return folder


def write_tar(folder):
    write_folder(folder)
    with tarfile.open(folder / "release.tar.gz", "w:gz") as tar:
        tar.add(folder / "a", "release")
        tar.add(folder / "net.labels.txt", "release/net.labels.txt")
    return folder / "release.tar.gz"


def write_zip(folder):
    write_folder(folder)
    with zipfile.ZipFile(folder / "release.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "a" / "weights_v5.pt", "weights_v5.pt")
        archive.write(folder / "net.labels.txt", "net.labels.txt")
    return folder / "release.zip"


@pytest.mark.parametrize("write", [write_folder, write_tar, write_zip], ids=["folder", "tar", "zip"])
def test_files_are_found_without_a_network(write, offline, card, tmp_path):
    installed = offline.pull(card, offer=Offer(write(tmp_path / "given")))
    assert installed.files["model.onnx"].read_bytes() == b"graph of " + WEIGHTS[:9]
    assert installed.files["labels.txt"].read_bytes() == b"fox\n"
    # The labels have no digest on the card, so nobody knows whether they are the published ones.
    assert installed.provenance is Provenance.IMPORTED
    assert "labels.txt" in installed.manifest.origin
    assert offline.installed(card) is not None


def test_a_file_of_another_name_is_found_by_its_digest(offline, card, tmp_path):
    folder = write_folder(tmp_path / "given", weights="renamed (1).bin")
    assert offline.pull(card, offer=Offer(folder)).files["model.onnx"].is_file()


def test_published_files_are_as_if_they_were_pulled(store, wanted, artifact, tmp_path, sha256, hub):
    hub.put("labels.txt", b"fox")
    checkpoint = artifact("checkpoint.pt", sha256=sha256(WEIGHTS), intermediate=True)
    card = wanted(checkpoint, artifact("model.onnx", Built(("checkpoint.pt",), _convert)), "labels.txt")
    file = tmp_path / "mine.pt"
    file.write_bytes(WEIGHTS)
    installed = store.pull(card, offer=Offer(file))
    assert installed.provenance is Provenance.PULLED
    assert [request.path.rpartition("/")[2] for request in hub.seen] == ["labels.txt"]
    again = store.remove("demo") or hub.put("checkpoint.pt", WEIGHTS)
    assert again
    assert store.pull(card).fingerprint == installed.fingerprint


def test_the_users_files_stay_where_and_what_they_are(offline, card, tmp_path):
    folder = write_folder(tmp_path / "given")
    installed = offline.pull(card, offer=Offer(folder))
    (folder / "net.labels.txt").write_bytes(b"changed afterwards")
    assert installed.files["labels.txt"].read_bytes() == b"fox\n"
    assert (folder / "a" / "weights_v5.pt").read_bytes() == WEIGHTS


def test_another_digest_is_refused_unless_told(offline, card, tmp_path, sha256):
    flipped = b"\x01" + WEIGHTS[1:]
    folder = write_folder(tmp_path / "given", content=flipped)
    with pytest.raises(DigestMismatch, match=r"weights_v5\.pt is not the published checkpoint\.pt") as raised:
        offline.pull(card, offer=Offer(folder))
    assert sha256(flipped) in str(raised.value)
    assert sha256(WEIGHTS) in str(raised.value)
    assert "--any-digest" in str(raised.value)
    installed = offline.pull(card, offer=Offer(folder, any_digest=True))
    assert installed.files["model.onnx"].read_bytes() == b"graph of " + flipped[:9]
    assert installed.provenance is Provenance.IMPORTED
    assert offline.installed(card) is not None


def test_a_lone_file_may_have_any_name_when_told(make_store, card, tmp_path, hub):
    file = tmp_path / "my own.pt"
    file.write_bytes(b"another training")
    with pytest.raises(SourceMissing, match=r"my own\.pt has no file of demo; expected weights_v5"):
        make_store().pull(card, offer=Offer(file))
    with pytest.raises(OfflineRefused, match=r"missing labels\.txt"):
        make_store(offline=True).pull(card, offer=Offer(file, any_digest=True))


def test_a_finished_graph_is_not_taken_for_a_checkpoint(offline, card, tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "model.onnx").write_bytes(b"somebody's graph")
    with pytest.raises(SourceMissing, match="has no file of demo"):
        offline.pull(card, offer=Offer(tmp_path / "given"))


def test_what_is_not_there_is_downloaded_where_several_models_are_asked_for(store, wanted, hub, tmp_path):
    hub.put("model.onnx", b"m")
    (tmp_path / "given").mkdir()
    offer = Offer(tmp_path / "given", required=False)
    assert store.pull(wanted("model.onnx"), offer=offer).provenance is Provenance.PULLED


def test_two_files_of_one_name_are_refused(offline, card, tmp_path):
    folder = write_folder(tmp_path / "given")
    (folder / "a" / "net.labels.txt").write_bytes(b"hare\n")
    with pytest.raises(SourceMissing, match="several files"):
        offline.pull(card, offer=Offer(folder))


def test_a_damaged_archive_is_one_line(offline, card, tmp_path):
    path = write_tar(tmp_path / "given")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DigestMismatch) as raised:
        offline.pull(card, offer=Offer(path))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_archive_is_one_line(tmp_path):
    path = tmp_path / "release.tar.gz"
    path.write_bytes(io.BytesIO(b"<html>").getvalue())
    with pytest.raises(DigestMismatch):
        Offer(path)
