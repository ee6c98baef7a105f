"""Publications, where they show what, and the files themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import MODEL, MONDAY, ONE_DAY, ended_day, judgement, placement, record, sha256_of

from sightline.jobs.koop.documents import (
    Documents,
    Item,
    ItemKind,
    ItemState,
    KeptFile,
    PublicationState,
    StoredPublication,
)
from sightline.jobs.koop.state import MANIFEST_IS_STALE, State
from sightline.jobs.koop.verdicts import Fingerprints, Verdicts


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


@pytest.fixture
def documents(state: State) -> Documents:
    return Documents(state)


def item(name: str, **changes: object) -> Item:
    return replace(Item(f"https://reader.example/{name}", ItemKind.ILLUSTRATION), **changes)


# -- publications ------------------------------------------------------------------------------------------


def test_a_record_comes_back_whole(documents: Documents) -> None:
    one = record(modified=MONDAY + ONE_DAY, available=None, pdf_url="https://archive.example/x.pdf")
    assert not documents.add(MONDAY, [one])
    assert documents.publication("gmb-2024-1") == StoredPublication(one, MONDAY, PublicationState.PENDING)
    with pytest.raises(KeyError):
        documents.publication("gmb-2024-2")


@given(title=st.text(max_size=50), creator=st.none() | st.text(max_size=20))
def test_any_text_is_stored(
    title: str, creator: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with State(tmp_path_factory.mktemp("any") / "koop.sqlite") as state:
        documents = Documents(state)
        try:
            title.encode()
        except UnicodeEncodeError:
            return  # lxml gives no lone surrogates either
        one = record(title=title, creator=creator)
        documents.add(MONDAY, [one])
        assert documents.publication(one.identifier).record == one


def test_publications_are_in_the_order_of_their_names(documents: Documents) -> None:
    documents.add(MONDAY, [record("c"), record("a"), record("b")])
    documents.add(MONDAY + ONE_DAY, [record("d")])
    assert documents.identifiers(MONDAY) == ["a", "b", "c"]


def test_what_has_not_changed_is_not_read_again(documents: Documents) -> None:
    documents.add(MONDAY, [record("a"), record("b")])
    documents.place("a", [])
    documents.place("b", [])
    assert not documents.add(MONDAY, [record("a"), record("b", sha256="other")])
    assert documents.publication("a").state is PublicationState.COMPLETE
    assert documents.publication("b").state is PublicationState.PENDING
    assert documents.count_publications(MONDAY) == {"complete": 1, "pending": 1}


def test_a_publication_that_moves_to_another_day_is_told(documents: Documents) -> None:
    documents.add(MONDAY, [record("a")])
    assert documents.add(MONDAY + ONE_DAY, [record("a")])
    assert documents.identifiers(MONDAY) == []
    assert documents.identifiers(MONDAY + ONE_DAY) == ["a"]
    assert documents.number_of_publications() == 1
    assert documents.number_of_publications(MONDAY, MONDAY) == 0


# -- items -------------------------------------------------------------------------------------------------


def test_placements_keep_their_order_and_replace_older_ones(documents: Documents) -> None:
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("z.png"), placement("b.png", in_head=True, width_mm=None)])
    assert [each.name for each in documents.placements("a")] == ["z.png", "b.png"]
    assert documents.placements("a")[1] == placement("b.png", in_head=True, width_mm=None)
    documents.place("a", [placement("c.png")], note="was a PDF")
    assert [each.name for each in documents.placements("a")] == ["c.png"]
    assert documents.publication("a").error == "was a PDF"


def test_a_failure_is_placed_with_what_is_known(documents: Documents) -> None:
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("b.png")], failure="no text", note="a note")
    found = documents.publication("a")
    assert (found.state, found.error) == (PublicationState.FAILED, "no text")
    assert len(documents.placements("a")) == 1


def test_an_item_in_two_places_is_one(documents: Documents) -> None:
    documents.add(MONDAY, [record("a"), record("b")])
    documents.place("a", [placement("x.png")])
    documents.save(item("x.png", state=ItemState.KEPT, sha256=sha256_of("x"), file="blobs/x"))
    documents.place("b", [placement("x.png")])
    assert documents.item("https://reader.example/x.png").state is ItemState.KEPT
    assert documents.count_items() == {"kept": 1}


def test_all_of_an_item_is_kept(documents: Documents) -> None:
    saved = Item(
        "https://x/y", ItemKind.ATTACHMENT, ItemState.FETCHED, "https://x/y/1/z.PDF", 200, 2, sha256_of("y"),
        1234, "application/pdf", '"tag"', "blobs/y.pdf", MODEL, "a note",
    )  # fmt: skip
    documents.save(saved)
    assert documents.item("https://x/y") == saved
    with pytest.raises(KeyError):
        documents.item("https://x/other")


@pytest.mark.parametrize(
    ("before", "after", "is_stale"),
    [
        (ItemState.PENDING, ItemState.KEPT, None),
        (ItemState.FETCHED, ItemState.REJECTED, None),
        (ItemState.KEPT, ItemState.KEPT, None),
        (ItemState.KEPT, ItemState.REJECTED, True),
        (ItemState.FAILED, ItemState.PENDING, True),
    ],
)
def test_a_change_of_what_was_settled_makes_the_manifest_stale(
    before: ItemState, after: ItemState, is_stale: bool | None, documents: Documents, state: State
) -> None:
    documents.save(item("x", state=before))
    documents.save(item("x", state=after))
    assert state.get(MANIFEST_IS_STALE) is is_stale


def test_bytes_are_needed_as_long_as_any_item_waits_for_them(documents: Documents) -> None:
    same = sha256_of("same")
    documents.save(item("a", state=ItemState.KEPT, sha256=same, file="blobs/same"))
    documents.save(item("b", state=ItemState.FETCHED, sha256=same, file="blobs/same"))
    assert documents.needs_bytes(same)
    documents.save(item("a", state=ItemState.REJECTED, sha256=same, file="blobs/same"))
    assert documents.needs_bytes(same)
    documents.save(item("b", state=ItemState.REJECTED, sha256=same, file="blobs/same"))
    assert not documents.needs_bytes(same)
    assert [each.url[-1] for each in documents.undropped()] == ["a", "b"]


def test_files_that_stay_replace_those_before(documents: Documents) -> None:
    one, two, three = (KeptFile(number, f"blobs/{number}", 10, 20, 30) for number in (1, 2, 3))
    assert documents.keep_files("pdf", [one, two]) == []
    assert documents.keep_files("other", [two]) == []
    assert documents.keep_files("pdf", [two, three]) == ["blobs/1"]
    assert documents.kept_files("pdf") == {2: two, 3: three}
    assert documents.keep_files("pdf", []) == ["blobs/3"]  # the other one still has the second
    assert documents.is_kept("blobs/2")
    assert not documents.is_kept("blobs/3")


# -- how many ----------------------------------------------------------------------------------------------


def test_counts_are_of_a_range_and_bytes_are_counted_once(documents: Documents, state: State) -> None:
    ended_day(state, MONDAY, {"a": ["1.png", "2.png"], "b": ["2.png"]})
    ended_day(state, MONDAY + ONE_DAY, {"c": ["3.png"]}, wanted=False)
    assert documents.count_items() == {"kept": 2, "rejected": 1}
    assert documents.count_items(MONDAY, MONDAY) == {"kept": 2}
    assert documents.count_wanted(MONDAY, Fingerprints(MODEL, "x")) == 2
    assert documents.count_wanted(MONDAY, Fingerprints("newer", MODEL)) == 0
    assert documents.number_of_files() == 0
    assert documents.count_wanted(MONDAY + ONE_DAY, Fingerprints(MODEL, MODEL)) == 0
    documents.keep_files(sha256_of("1.png"), [KeptFile(0, "blobs/1.png", 7)])
    assert documents.disk_bytes() == 14


def test_items_judged_by_another_model_are_counted(documents: Documents, state: State) -> None:
    ended_day(state, MONDAY, {"a": ["1.png", "2.png"]})
    assert documents.count_judged_otherwise(Fingerprints(MODEL, "x")) == 0
    assert documents.count_judged_otherwise(Fingerprints("newer", MODEL)) == 2
    Verdicts(state).save(judgement(sha256_of("1.png"), model="newer"))
    documents.save(replace(documents.item("https://reader.example/1.png"), model="newer"))
    assert documents.count_judged_otherwise(Fingerprints("newer", MODEL)) == 1


def test_troubles_name_publications_and_files_with_reasons(documents: Documents) -> None:
    documents.add(MONDAY, [record("a"), record("b")])
    documents.place("a", [placement("x.png"), placement("y.png")])
    documents.place("b", [placement("x.png")], failure="no text")
    documents.save(item("x.png", state=ItemState.FAILED, error="torn"))
    documents.save(item("y.png", state=ItemState.GONE, error="gone"))
    assert documents.troubles(MONDAY, 10) == [("b", "no text"), ("https://reader.example/x.png", "torn")]
    assert len(documents.troubles(MONDAY, 1)) == 1
