"""Manifests: whole lines, each once, in the order of days, whatever happened on the way."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from stored import MODEL, MONDAY, ONE_DAY, ended_day, placement, record, sha256_of

from sightline.errors import ConfigurationError
from sightline.jobs.koop.lifecycle import ItemState
from sightline.jobs.koop.output import manifest as manifests
from sightline.jobs.koop.output.manifest import Manifest, require_parquet, rows, write_parquet
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFile, KeptFiles
from sightline.jobs.koop.store.state import Day, DayState, State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.jsonl"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


@pytest.fixture
def manifest(path: Path, state: State) -> Manifest:
    return Manifest(path, state)


def end(state: State, manifest: Manifest, date: dt.date, names: dict[str, list[str]]) -> None:
    with state.transaction():
        ended_day(state, date, names)
        manifest.append(date)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def names(path: Path) -> list[str | None]:
    return [line["name"] for line in lines(path)]


def test_a_line_says_everything_of_a_picture(state: State, manifest: Manifest, path: Path) -> None:
    KeptFiles(state).replace(sha256_of("1.png"), [KeptFile(0, "blobs/1.png", 7, 160, 110)])
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    assert lines(path) == [
        {
            "day": "2024-01-15", "publication": "a", "title": "Besluit a é & <b>", "creator": "Teststad",
            "types": ["verkeersbesluit of -mededeling", "besluit"], "decision_types": ["plaatsing"],
            "signs": ["C1", "E6"], "page_url": "https://reader.example/a.html", "note": None,
            "kind": "illustratie", "name": "1.png", "url": "https://reader.example/1.png",
            "rights": "not known; the archive's CC0 is for texts", "page": None, "caption_before": "Kaart",
            "caption": "Locatie", "alt": "Kaart van de wijk", "width_mm": 160.0, "height_mm": 90.0,
            "state": "kept", "error": None,
            "sha256": sha256_of("1.png"), "bytes": 7, "mime": "image/png", "label": "maps",
            "confidence": 0.75, "probabilities": {"maps": 0.75, "miscellaneous": 0.25},
            "would_download": True, "model": MODEL, "file": "blobs/1.png", "width": 160, "height": 110,
            "source_file": "blobs/1.png",
            "text": None,
            "text_lines": None,
            "text_model": None,
        }
    ]  # fmt: skip


def test_a_publication_without_pictures_has_a_line_too(state: State, manifest: Manifest, path: Path) -> None:
    end(state, manifest, MONDAY, {"a": []})
    (line,) = lines(path)
    assert (line["publication"], line["kind"], line["state"]) == ("a", None, "complete")
    assert line["rights"] is None


def test_days_are_appended_and_lines_are_in_order(state: State, manifest: Manifest, path: Path) -> None:
    end(state, manifest, MONDAY, {"b": ["2.png", "1.png"], "a": ["9.png"]})
    first = path.read_bytes()
    end(state, manifest, MONDAY + ONE_DAY, {"c": ["3.png"]})
    assert path.read_bytes().startswith(first)
    assert names(path) == ["9.png", "2.png", "1.png", "3.png"]


def test_a_torn_tail_is_cut(state: State, manifest: Manifest, path: Path) -> None:
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:30])
    manifest.repair()
    assert path.read_bytes() == whole
    end(state, manifest, MONDAY + ONE_DAY, {"b": ["2.png"]})
    assert names(path) == ["1.png", "2.png"]


def test_lines_of_a_day_that_did_not_end_are_cut_by_its_second_end(
    state: State, manifest: Manifest, path: Path
) -> None:

    def broken() -> None:
        with state.transaction():
            ended_day(state, MONDAY, {"a": ["1.png"]})
            manifest.append(MONDAY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert len(lines(path)) == 1
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    assert names(path) == ["1.png"]


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2], [0, 2, 1]])
def test_the_order_of_work_does_not_show(
    order: list[int], state: State, manifest: Manifest, path: Path, tmp_path: Path
) -> None:
    for number in order:
        end(state, manifest, MONDAY + number * ONE_DAY, {f"p{number}": [f"{number}.png"]})
    manifest.finish()
    assert names(path) == ["0.png", "1.png", "2.png"]
    before = path.stat().st_ino
    manifest.finish()  # nothing to do
    assert path.stat().st_ino == before
    end(state, manifest, MONDAY + 3 * ONE_DAY, {"p3": ["3.png"]})  # and appending goes on behind it
    assert names(path) == ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize("left", [None, b"", b'{"day": '])
def test_a_shortened_or_lost_manifest_is_made_again(
    left: bytes | None, state: State, manifest: Manifest, path: Path
) -> None:
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    manifest.repair()
    end(state, manifest, MONDAY + ONE_DAY, {"b": ["2.png"]})
    manifest.finish()
    assert path.read_bytes().startswith(whole)
    assert names(path) == ["1.png", "2.png"]


def test_a_manifest_lost_while_running_is_not_padded(state: State, manifest: Manifest, path: Path) -> None:
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    path.unlink()
    end(state, manifest, MONDAY + ONE_DAY, {"b": ["2.png"]})
    manifest.finish()
    assert names(path) == ["1.png", "2.png"]


def test_days_that_have_not_ended_are_left_out(state: State, manifest: Manifest, path: Path) -> None:
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    ended_day(state, MONDAY + ONE_DAY, {"b": ["2.png"]}, state=DayState.DOCUMENTS, completed_at=None)
    ended_day(state, MONDAY + 2 * ONE_DAY, {"c": ["3.png"]}, state=DayState.FAILED, completed_at=None)
    ended_day(state, MONDAY + 3 * ONE_DAY, {"d": ["4.png"]}, state=DayState.PARTIAL)
    manifest.rewrite()
    assert names(path) == ["1.png", "4.png"]


@pytest.mark.parametrize("under_way", [DayState.SEARCHING, DayState.DOCUMENTS])
def test_days_that_are_worked_on_again_keep_their_lines(
    under_way: DayState, state: State, manifest: Manifest, path: Path
) -> None:
    end(state, manifest, MONDAY, {"a": ["1.png"]})
    end(state, manifest, MONDAY + ONE_DAY, {"b": ["2.png"]})
    before = path.read_bytes()
    day = state.day(MONDAY + ONE_DAY)
    assert day is not None
    state.save_day(replace(day, state=under_way))  # and here the process was killed
    manifest.rewrite()
    assert path.read_bytes() == before
    manifest.append(MONDAY + ONE_DAY)
    manifest.finish()
    assert path.read_bytes() == before


def test_without_a_page_for_readers_the_link_is_the_documents(state: State) -> None:
    ended_day(state, MONDAY, {})
    html = "https://archive.example/a.html"
    Documents(state).add(MONDAY, [record("a", page_url=None, html_url=html), record("b", html_url=html)])
    assert [row["page_url"] for row in rows(state)] == [html, "https://reader.example/b.html"]


def test_pages_are_lines_and_files_are_of_what_is_kept(state: State) -> None:
    from stored import judgement

    from sightline.jobs.koop.lifecycle import Item, ItemKind
    from sightline.jobs.koop.store.results import Results

    documents, pdf = Documents(state), sha256_of("pdf")
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("x.pdf", kind=ItemKind.ATTACHMENT)])
    Results(state).save(judgement(pdf, pages=2))
    kept = Item(
        "https://reader.example/x.pdf", ItemKind.ATTACHMENT, ItemState.KEPT, "https://host/1/x.PDF",
        sha256=pdf, file="blobs/x.pdf", model=MODEL,
    )  # fmt: skip
    documents.save(kept)
    KeptFiles(state).replace(pdf, [KeptFile(2, "blobs/page2.png", 7, 20, 30)])
    state.save_day(Day(MONDAY, "available", DayState.COMPLETE, 1, 1, completed_at="2024-02-01"))
    one, two = rows(state)
    assert (one["page"], one["file"], one["source_file"]) == (1, None, "blobs/x.pdf")
    assert (two["page"], two["file"], two["url"]) == (2, "blobs/page2.png", "https://host/1/x.PDF")
    documents.save(replace(kept, state=ItemState.REJECTED))
    assert {(row["file"], row["source_file"]) for row in rows(state)} == {(None, None)}


def test_parquet_has_the_same_rows(state: State, manifest: Manifest, path: Path, tmp_path: Path) -> None:
    end(state, manifest, MONDAY, {"a": ["1.png"], "b": []})
    target = tmp_path / "manifest.parquet"
    write_parquet(target, state)
    table = pyarrow.parquet.read_table(target).to_pylist()
    assert [row["publication"] for row in table] == ["a", "b"]
    assert table[0]["day"] == MONDAY
    assert table[0]["signs"] == "C1; E6"
    assert json.loads(table[0]["probabilities"]) == lines(path)[0]["probabilities"]
    assert set(table[0]) == set(lines(path)[0])
    assert not list(tmp_path.glob(".manifest*"))


def test_without_pyarrow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_parquet()

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(manifests, "import_module", missing)
    with pytest.raises(ConfigurationError, match=r"pip install 'pyarrow"):
        require_parquet()
