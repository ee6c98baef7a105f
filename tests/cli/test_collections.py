"""The commands, on real photographs through a small CLIP, on Parquet files and on a loopback service."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from sightline.collections import Collections

FINGERPRINT = "0123456789abcdef"


@pytest.fixture
def root(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, models_dir: Path
) -> Path:
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(models_dir))
    monkeypatch.setenv("SIGHTLINE_ALLOW_RANDOM_WEIGHTS", "1")
    monkeypatch.setenv("SIGHTLINE_COLLECTIONS_DIR", str(tmp_path / "collections"))
    return tmp_path / "collections"


@pytest.fixture
def collections(root: Path) -> Collections:
    return Collections(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Coffee inside, gravel outside."""
    made = tmp_path / "coffee"
    for part, photo in (("in", skimage.data.coffee()), ("out", skimage.data.gravel())):
        (made / part).mkdir(parents=True)
        for number in range(10):
            pixels = photo[16 * number : 16 * number + 96, :96]
            Image.fromarray(pixels).convert("RGB").save(made / part / f"{number}.png")
    return made


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., str]:
    """A file with two clouds per collection; ``flip`` swaps inside and outside."""

    def write(*ids: Any, count: int = 60, seed: int = 0, flip: bool = False) -> str:
        generator = np.random.default_rng(seed)
        rows: dict[str, list[Any]] = {"embedding": [], "label": [], "collection_id": []}
        for identity in ids or (None,):
            for number in range(count):
                label = number % 3 == 0
                rows["embedding"].append(generator.normal(2.0 * label, 1, 8).astype(np.float32))
                rows["label"].append(label != flip)
                rows["collection_id"].append(identity)
        if not ids:
            del rows["collection_id"]
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        pq.write_table(pa.table(rows), path)
        return str(path)

    return write


@pytest.fixture
def pages() -> Iterator[dict[str, Any]]:
    """What a loopback service has by path; its address is under ``url``."""
    found: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = found.get(self.path)
            body = page if isinstance(page, bytes) else json.dumps(page).encode()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Test output is for tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found["url"] = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path, formats=["PNG"]) as image:
        return image.size


def test_a_folder_is_taught_and_listed(sightline, root, folder, collections) -> None:
    (folder / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = sightline("collections", "train", "--source", str(folder), "--plots", "plots")
    assert done.exit_code == 0, done.output
    assert "coffee" in done.stdout
    assert "skipped: in/broken.jpg" in done.stderr
    assert "random weights" in done.stderr
    version = collections.collection("coffee").index().serving
    assert version in done.stdout
    assert size_of("plots/coffee.png") == (1080, 600)

    listed = sightline("collections", "list")
    assert "coffee" in listed.stdout
    assert version in listed.stdout
    (entry,) = json.loads(sightline("collections", "list", "--json").stdout)
    assert (entry["collection"], entry["versions"], entry["serving"]["version"]) == ("coffee", 1, version)
    assert entry["serving"]["recipe"]["spaces"][0]["name"] == "clip-vit-b-32"

    again = sightline("collections", "train", "--source", str(folder), "--collection", "coffee", "--json")
    (line,) = lines(again.stdout)
    assert (line["collection"], line["reused"]) == ("coffee", 20)
    assert [each["name"] for each in line["skipped"]] == ["in/broken.jpg"]


def test_a_folder_is_called_what_one_likes(sightline, root, folder, collections) -> None:
    done = sightline("collections", "train", "--source", str(folder), "--collection", "espresso")
    assert done.exit_code == 0, done.output
    assert collections.names() == ["espresso"]


def test_all_collections_of_a_file_and_those_that_fail(sightline, root, parquet, collections) -> None:
    source = parquet(7, 8, 9)
    table = pq.read_table(source).to_pylist()
    for row in table:
        if row["collection_id"] == 8:
            row["label"] = True
    pq.write_table(pa.Table.from_pylist(table), source)
    done = sightline("collections", "train", "--source", source, "--json")
    assert done.exit_code == 1
    assert collections.names() == ["7", "9"]
    seven, eight, nine = lines(done.stdout)
    assert seven["trained"]["held_out"]["examples"] == nine["trained"]["held_out"]["examples"] == 12
    assert eight["error"]["code"] == "invalid_examples"
    assert "collection 8: all 60 examples are of one class" in done.stderr


def test_only_the_named_ones(sightline, root, parquet, collections) -> None:
    source = parquet(7, 8, 9)
    done = sightline("collections", "train", "--source", source, "--collection", "9", "--collection", "10")
    assert done.exit_code == 1
    assert collections.names() == ["9"]
    assert "collection 10: the source has no collection '10'; it has 7, 8, 9" in done.stderr


def test_a_file_of_one_collection_must_be_told_which(sightline, root, parquet, collections) -> None:
    done = sightline("collections", "train", "--source", parquet())
    assert done.exit_code == 2
    assert "no column collection_id" in done.stderr
    done = sightline("collections", "train", "--source", parquet(), "--collection", "cats")
    assert done.exit_code == 0, done.output
    assert collections.names() == ["cats"]


def test_a_service_some_of_whose_collections_are_odd(
    sightline, root, pages, monkeypatch, collections
) -> None:
    generator = np.random.default_rng(0)
    data = [
        {"embedding": generator.normal(3 * (number % 2), 1, 8).tolist(), "label": bool(number % 2)}
        for number in range(40)
    ]
    pages["/collections.json"] = (
        b"<html><body><pre>"
        + json.dumps(
            [{"id": 1, "name": "Good"}, {"id": 2, "name": "Vanished"}, {"id": 3, "name": "One"}, {"x": 1}]
        ).encode()
        + b"</pre></body></html>"
    )
    pages["/collections/1/training_data.json"] = data
    pages["/collections/3/training_data.json"] = [each | {"label": True} for each in data]
    monkeypatch.setenv("SIGHTLINE_COLLECTIONS_SOURCE", pages["url"])
    refused = sightline("collections", "train")
    assert refused.exit_code == 1
    assert "SIGHTLINE_FETCH_ALLOW_NETWORKS" in refused.stderr
    assert not root.exists()

    monkeypatch.setenv("SIGHTLINE_FETCH_ALLOW_NETWORKS", "127.0.0.0/8")
    done = sightline("collections", "train", "--fingerprint", f"clip={FINGERPRINT}")
    assert done.exit_code == 1
    assert "1 Good" in done.stdout
    for said in ("collection 2 (Vanished): ", "is gone: the service answered 404", "collection 3 (One): ",
                 "of one class", "entry 3"):  # fmt: skip
        assert said in done.stderr
    assert collections.names() == ["1"]
    assert collections.collection(1).serving().recipe.spaces[0].fingerprint == FINGERPRINT


def test_show_promote_and_roll_back(sightline, root, parquet, collections) -> None:
    for seed in range(3):
        source = parquet(7, seed=seed)
        assert sightline("collections", "train", "--source", source).exit_code == 0
    collection = collections.collection(7)
    oldest, *_, newest = collection.versions()
    shown = sightline("collections", "show", "7", "--plot", "seven.png")
    assert shown.exit_code == 0, shown.output
    assert all(version in shown.stdout for version in collection.versions())
    assert size_of("seven.png") == (1080, 600)
    before = collection.index().serving
    other = oldest if before != oldest else newest
    done = sightline("collections", "promote", "7", other)
    assert (done.exit_code, done.stdout) == (0, f"{other} serves\n")
    report = json.loads(sightline("collections", "show", "7", "--json").stdout)
    assert (report["serving"], report["history"][-1]) == (other, before)
    done = sightline("collections", "rollback", "7")
    assert done.stdout == f"{before} serves\n"
    assert collection.index().serving == before


def test_what_is_not_there_is_said(sightline, root, parquet) -> None:
    for command in (["show", "7"], ["rollback", "7"], ["promote", "7", "20261121T000000Z"], ["show", "../x"]):
        done = sightline("collections", *command)
        assert done.exit_code == 1, command
        assert "error: " in done.stderr
    assert "No collections yet" in sightline("collections", "list").stdout
    assert json.loads(sightline("collections", "list", "--json").stdout) == []


def test_a_damaged_version_is_shown_as_such(sightline, root, parquet, collections) -> None:
    sightline("collections", "train", "--source", parquet(7))
    version = collections.collection(7).index().serving
    (root / "7" / "versions" / f"{version}.npz").write_bytes(b"x")
    shown = sightline("collections", "show", "7")
    assert "damaged" in shown.stdout
    assert "damaged" in sightline("collections", "list").stderr
    (entry,) = json.loads(sightline("collections", "list", "--json").stdout)
    assert "damaged" in entry["problem"]


def test_a_collection_that_is_being_trained_is_left_alone(sightline, root, parquet, collections) -> None:
    source = parquet(7)
    sightline("collections", "train", "--source", source)
    with collections.collection(7).changing():
        done = sightline("collections", "train", "--source", source)
        promoted = sightline("collections", "rollback", "7")
    assert (done.exit_code, promoted.exit_code) == (1, 1)
    assert "collection 7: collection 7 is being trained or changed already" in done.stderr
    assert len(collections.collection(7).versions()) == 1


def test_versions_are_measured_on_other_examples(sightline, root, parquet, collections) -> None:
    sightline("collections", "train", "--source", parquet(7))
    flipped = parquet(7, 8, seed=5, flip=True)
    done = sightline("collections", "evaluate", "--source", flipped, "--json")
    assert done.exit_code == 1  # nobody ever trained 8
    seven, eight = lines(done.stdout)
    assert seven["versions"][0]["scores"]["macro_precision"] < 0.3
    assert seven["versions"][0]["scores"]["examples"] == 60
    assert eight["error"]["code"] == "unknown_collection"
    held_out = sightline(
        "collections", "evaluate", "--source", flipped, "--collection", "7", "--held-out", "--json"
    )
    assert lines(held_out.stdout)[0]["versions"][0]["scores"]["examples"] == 12
    shown = sightline("collections", "evaluate", "--source", parquet(7), "--collection", "7")
    assert "Collection 7" in shown.stdout
    assert collections.collection(7).versions()[0] in shown.stdout
    assert len(collections.collection(7).versions()) == 1


def test_versions_of_other_embeddings_are_not_measured(sightline, root, parquet) -> None:
    sightline("collections", "train", "--source", parquet(7))
    done = sightline("collections", "evaluate", "--source", parquet(7), "--embedding", "dinov2", "--json")
    (line,) = lines(done.stdout)
    assert "was trained on clip-vit-b-32" in line["versions"][0]["problem"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--source", "nowhere"], "no URL, no folder and no Parquet file"),
        (["--source", "."], "has no folders in/ and out/"),
        (["--source", "ftp://example.org"], "no URL, no folder"),
        (["--source", "http://user:secret@example.org"], "user name or password"),
        (["--embedding", "clop"], "there is no embedding 'clop'"),
        (["--embedding", "clip+clip"], "names no embeddings"),
        (["--fingerprint", "clip"], "is not of the form"),
        (["--target", "left_foot"], "left_foot"),
    ],
)
def test_mistakes_are_explained(sightline, root, options: list[str], said: str) -> None:
    done = sightline("collections", "train", *options)
    assert done.exit_code == 2
    assert said in done.stderr


class Touch:
    """A pickle that would do something."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("touched"),)


def test_a_pickle_is_not_opened_unless_trusted(sightline, root) -> None:
    Path("collection_7_classifier.pkl").write_bytes(pickle.dumps(Touch()))
    done = sightline("collections", "import", "collection_7_classifier.pkl")
    assert done.exit_code == 2
    assert "say that you trust who made it" in done.stderr
    assert not Path("touched").exists()


@pytest.fixture
def old_pickle() -> Callable[[str], Path]:
    def write(name: str) -> Path:
        from sklearn.linear_model import LogisticRegression

        generator = np.random.default_rng(0)
        vectors, labels = generator.normal(size=(40, 8)), np.arange(40) % 2 == 0
        buffer = io.BytesIO()
        pickle.dump(LogisticRegression().fit(vectors, labels), buffer)
        path = Path(name)
        path.write_bytes(buffer.getvalue())
        return path

    return write


def test_old_classifiers_come_over(sightline, root, old_pickle, collections) -> None:
    old_pickle("collection_7_classifier_20251004_120000.pkl")
    done = sightline("collections", "import", "collection_7_classifier_20251004_120000.pkl", "--trust")
    assert done.exit_code == 0, done.output
    assert "of collection 7; it serves" in done.stdout
    done = sightline("collections", "import", "collection_7_classifier_20251004_120000.pkl", "--trust")
    assert "it does not serve" in done.stdout
    done = sightline(
        "collections", "import", "collection_7_classifier_20251004_120000.pkl", "--trust",
        "--collection", "faces", "--target", "prominent_face", "--fingerprint", f"clip={FINGERPRINT}",
        "--no-promote",
    )  # fmt: skip
    assert "of collection faces; it does not serve" in done.stdout
    (version,) = collections.collection("faces").versions()
    recipe = collections.collection("faces").read(version).recipe
    assert (recipe.target.value, recipe.spaces[0].fingerprint) == ("prominent_face", FINGERPRINT)


def test_a_whole_index_of_them(sightline, root, old_pickle, collections) -> None:
    old_pickle("a.pkl")
    index = {"7": "a.pkl", "8": {"model_file": "trained_classifiers/b.pkl", "derivative_type": "whole_image",
             "embedding_type": "embed_clip_vit_b_32", "dimensionality": 8}}  # fmt: skip
    Path("best_models.json").write_text(json.dumps(index))
    done = sightline("collections", "import", "best_models.json", "--trust")
    assert done.exit_code == 1
    assert collections.names() == ["7"]
    assert "b.pkl: there is no file b.pkl" in done.stderr
    refused = sightline("collections", "import", "best_models.json", "--trust", "--collection", "9")
    assert refused.exit_code == 2


def test_without_the_extra_it_says_what_to_install(sightline, root, parquet, monkeypatch) -> None:
    source = parquet(7)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.linear_model", None)
    done = sightline("collections", "train", "--source", source)
    assert done.exit_code == 2
    assert "make extras" in done.stderr
    assert not root.exists()
