"""Files that several models are made of: downloaded once, kept while one of them still needs it."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tarfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from sightline.errors import CheckpointInvalid, DigestMismatch, SourceMissing, WeightsError
from sightline.weights.sources import ArchiveMember, Built, HubFile

CHECKPOINT = bytes(range(256)) * 40


def _convert(inputs, output, report):
    output.write_bytes(b"graph of " + inputs["checkpoint"].read_bytes()[:20])


@pytest.fixture
def two(wanted, artifact, hub, sha256):
    """Two models that are converted from one checkpoint."""
    hub.put("weights.bin", CHECKPOINT)

    def card(model: str, convert=_convert, **extra):
        checkpoint = artifact(
            "checkpoint",
            HubFile("org/repo", "weights.bin"),
            sha256=sha256(CHECKPOINT),
            size_bytes=len(CHECKPOINT),
            intermediate=True,
        )
        graph = artifact("model.onnx", Built(("checkpoint",), convert))
        return wanted(checkpoint, graph, *extra.get("more", ()), model=model)

    return card


def fetches(hub) -> int:
    return sum(request.path.endswith("weights.bin") for request in hub.seen)


def left(root: Path) -> list[str]:
    return [path.name for path in (root / ".partial").rglob("*") if path.is_file()]


def test_models_that_are_pulled_together_share_one_download(store, two, hub, root):
    cards = [two("image"), two("text")]
    with store.together(cards):
        store.pull(cards[0])
        assert left(root), "the second model still needs it"
        store.pull(cards[1])
    assert fetches(hub) == 1
    assert left(root) == []
    assert [store.installed(card).provenance.value for card in cards] == ["pulled", "pulled"]


def test_alone_a_model_leaves_nothing_behind(store, two, hub, root):
    store.pull(two("image"))
    assert left(root) == []
    store.pull(two("text"))
    assert fetches(hub) == 2


def test_models_that_were_not_begun_keep_nothing(store, two, root):
    cards = [two("image"), two("text")]
    with store.together(cards):
        store.pull(cards[0])
        # As if the command had ended here: "text" was never begun.
    assert left(root) == []


def test_what_an_interrupted_model_needs_stays_for_it(store, two, hub, root, artifact):
    card = two("image", more=(artifact("labels.txt"),))
    with pytest.raises(SourceMissing, match=r"labels\.txt"):
        # The checkpoint is fetched only for what is built, so the labels fail first unless they come last.
        store.pull(card)
    hub.put("labels.txt", b"a b")

    def killed(inputs, output, report):
        output.write_bytes(b"half")
        raise WeightsError("as if it was killed")

    with pytest.raises(WeightsError, match="killed"):
        store.pull(two("image", killed, more=(artifact("labels.txt"),)))
    assert store.installed(card) is None
    store.pull(two("text"))
    assert fetches(hub) == 1
    store.pull(card)
    assert fetches(hub) == 1
    assert left(root) == []


def test_removing_an_interrupted_model_removes_what_it_needed(store, two, root):
    def broken(inputs, output, report):
        raise WeightsError("no")

    with pytest.raises(WeightsError):
        store.pull(two("image", broken))
    assert left(root)
    store.remove("image")
    assert left(root) == []


def test_threads_that_need_the_same_file_fetch_it_once(store, make_store, two, hub, root):
    errors = []

    def pull(card):
        try:
            make_store().pull(card)
        except BaseException as error:
            errors.append(error)

    cards = [two(f"model-{number}") for number in range(4)]
    threads = [threading.Thread(target=pull, args=(card,)) for card in cards]
    with store.together(cards):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert fetches(hub) == 1
    assert left(root) == []


def test_a_checkpoint_with_a_flipped_byte_is_fetched_again(store, two, hub, root):
    def broken(inputs, output, report):
        raise WeightsError("no")

    with pytest.raises(WeightsError):
        store.pull(two("image", broken))
    (kept,) = (path for path in (root / ".partial" / "@shared").iterdir())
    kept.write_bytes(b"\x01" + CHECKPOINT[1:])
    store.pull(two("image"))
    assert fetches(hub) == 2


def _pull_and_die(store, card, mark):
    """In a process of its own, killed in the middle of a conversion."""

    def convert(inputs, output, report):
        output.write_bytes(b"half of a graph")
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    artifacts = tuple(
        type(item)(item.name, (Built(("checkpoint",), convert),)) if item.name == "model.onnx" else item
        for item in card.artifacts
    )
    store.pull(type(card)(card.model, artifacts, card.licence, card.homepage, card.preprocessing))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the store of the test is handed on by forking")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_killed_in_the_middle_of_a_conversion(store, two, hub, root, tmp_path):
    card = two("image")
    dying = multiprocessing.get_context("fork").Process(
        target=_pull_and_die, args=(store, card, tmp_path / "mark")
    )
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    assert (tmp_path / "mark").exists()
    assert store.installed(card) is None
    pulled = store.pull(card)
    assert pulled.files["model.onnx"].read_bytes().startswith(b"graph of")
    assert fetches(hub) == 1, "what had arrived was not used"
    assert left(root) == []


def test_a_full_disk_during_conversion_leaves_no_half_file(store, two, root, hub):
    def full(inputs, output, report):
        output.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(WeightsError, match="disk is full"):
        store.pull(two("image", full))
    assert "model.onnx" not in left(root)
    assert store.installed(two("image")) is None
    store.pull(two("image"))
    assert fetches(hub) == 1


def test_space_for_the_conversion_is_required_before_the_download(store, two, hub, monkeypatch):
    # A checkpoint of 10 kB fits, but not with what is converted from it.
    free = 64 * 1024 * 1024 + len(CHECKPOINT) + 100
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(WeightsError, match="not enough disk space"):
        store.pull(two("image"))
    assert hub.seen == []


def test_an_unpinned_checkpoint_that_does_not_fit_is_not_kept(store, wanted, artifact, hub, root):
    def refuse(inputs, output, report):
        raise CheckpointInvalid("the checkpoint has no tensor a; expected [1]")

    def card(convert):
        checkpoint = artifact("checkpoint", HubFile("org/repo", "weights.bin"), intermediate=True)
        return wanted(checkpoint, artifact("model.onnx", Built(("checkpoint",), convert)))

    hub.put("weights.bin", b"another model")
    with pytest.raises(CheckpointInvalid, match=r"demo: model\.onnx cannot be made of checkpoint: "):
        store.pull(card(refuse))
    hub.put("weights.bin", CHECKPOINT)
    assert store.pull(card(_convert)).files["model.onnx"].read_bytes().endswith(CHECKPOINT[:20])


def _tar(mode: str, **files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _zip(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


FILES = {"./release/weights.pt": CHECKPOINT, "./release/labels.txt": b"fox\nhare\n"}


@pytest.fixture
def released(wanted, artifact, hub, sha256):
    """Models whose files are in one archive."""

    def card(model: str, names=("weights.pt", "labels.txt"), **facts):
        url = f"{hub.url}/api/release/1/download"
        return wanted(*(artifact(name, ArchiveMember(url, name), **facts) for name in names), model=model)

    return card


@pytest.mark.parametrize("archive", [_tar("w:gz", **FILES), _tar("w", **FILES), _zip(**FILES)])
def test_members_of_an_archive(archive, store, released, hub, root):
    hub.files["/api/release/1/download"] = archive
    pulled = store.pull(released("one"))
    assert pulled.files["weights.pt"].read_bytes() == CHECKPOINT
    assert pulled.files["labels.txt"].read_bytes() == b"fox\nhare\n"
    assert len(hub.seen) == 1
    assert left(root) == []
    assert pulled.manifest.files["labels.txt"].source.startswith("labels.txt in http://127.0.0.1")


def test_an_archive_is_downloaded_once_for_models_that_are_pulled_together(store, released, hub, root):
    hub.files["/api/release/1/download"] = _tar("w:gz", **FILES)
    cards = [released("classifier", ["weights.pt"]), released("rules", ["labels.txt"])]
    with store.together(cards):
        for card in cards:
            store.pull(card)
    assert len(hub.seen) == 1
    assert left(root) == []


@pytest.mark.parametrize(
    ("archive", "kind"),
    [
        (_tar("w:gz", other=b"x"), SourceMissing),
        (_tar("w:gz", **{"a/weights.pt": b"1", "b/weights.pt": b"2"}), SourceMissing),
        (_tar("w:gz", **{"weights.pt": CHECKPOINT})[:-3000], DigestMismatch),
        (_tar("w:gz", **{"weights.pt": os.urandom(9000)})[:-3000], DigestMismatch),
        (b"not an archive", DigestMismatch),
        (b"", DigestMismatch),
    ],
    ids=["no such member", "two of the name", "cut short", "cut in the member", "another kind", "empty"],
)
def test_archives_without_the_file(archive, kind, store, released, hub):
    hub.files["/api/release/1/download"] = archive
    with pytest.raises(kind) as raised:
        store.pull(released("one", ["weights.pt"]))
    assert "\n" not in str(raised.value)
    hub.files["/api/release/1/download"] = _tar("w:gz", **FILES)
    if kind is DigestMismatch:
        assert store.pull(released("one", ["weights.pt"])).files["weights.pt"].read_bytes() == CHECKPOINT


def test_a_link_in_an_archive_is_not_followed(store, released, hub, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("weights.pt")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(link)
    hub.files["/api/release/1/download"] = buffer.getvalue()
    with pytest.raises(SourceMissing):
        store.pull(released("one", ["weights.pt"]))


def test_a_member_must_have_the_digest_of_the_card(store, released, hub):
    hub.files["/api/release/1/download"] = _tar("w:gz", **FILES)
    with pytest.raises(DigestMismatch):
        store.pull(released("one", ["weights.pt"], sha256="0" * 64))
