"""Publications, where they show what, and the files themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import MODEL, MONDAY, ONE_DAY, ended_day, judgement, placement, record, sha256_of

from sightline.jobs.koop.lifecycle import NOT_JUDGED, Item, ItemKind, ItemState
from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.documents import Documents, PublicationState, StoredPublication
from sightline.jobs.koop.store.files import KeptFile, KeptFiles
from sightline.jobs.koop.store.results import Fingerprints, Results
from sightline.jobs.koop.store.revisions import Revisions
from sightline.jobs.koop.store.state import MANIFEST_IS_STALE, State


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


@pytest.fixture
def documents(state: State) -> Documents:
    return Documents(state)


@pytest.fixture
def counts(state: State) -> Counts:
    return Counts(state)


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


def test_what_has_not_changed_is_not_read_again(documents: Documents, counts: Counts) -> None:
    documents.add(MONDAY, [record("a"), record("b")])
    documents.place("a", [])
    documents.place("b", [])
    assert not documents.add(MONDAY, [record("a"), record("b", sha256="other")])
    assert documents.publication("a").state is PublicationState.COMPLETE
    assert documents.publication("b").state is PublicationState.PENDING
    assert counts.count_publications(MONDAY) == {"complete": 1, "pending": 1}


def test_a_publication_that_moves_to_another_day_is_told(documents: Documents, counts: Counts) -> None:
    documents.add(MONDAY, [record("a")])
    assert documents.add(MONDAY + ONE_DAY, [record("a")])
    assert documents.identifiers(MONDAY) == []
    assert documents.identifiers(MONDAY + ONE_DAY) == ["a"]
    assert counts.number_of_publications() == 1
    assert counts.number_of_publications(MONDAY, MONDAY) == 0


def test_one_that_names_the_day_it_is_known_under_stays_there(documents: Documents) -> None:
    tuesday = MONDAY + ONE_DAY
    documents.add(MONDAY, [record("a"), record("b", available=None), record("c", available=tuesday)])
    found = [record("a", sha256="changed"), record("b", available=None), record("c", available=tuesday)]
    assert documents.add(tuesday, found, by_available=True)
    assert documents.identifiers(MONDAY) == ["a"]
    assert documents.identifiers(tuesday) == ["b", "c"]
    assert documents.publication("a").record == record("a")  # its own day's search will bring the change
    assert not documents.add(tuesday, [record("d")], by_available=True)
    assert documents.identifiers(tuesday) == ["b", "c", "d"]  # known nowhere else


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


def test_with_a_failure_what_was_known_stays_behind_it(documents: Documents) -> None:
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("1.png"), placement("2.png"), placement("3.pdf")])
    documents.place("a", [placement("3.pdf", caption="new"), placement("4.pdf")], failure="no text")
    found = documents.placements("a")
    assert [each.name for each in found] == ["3.pdf", "4.pdf", "1.png", "2.png"]
    assert found[0].caption == "new"
    documents.place("a", [placement("2.png")])
    assert [each.name for each in documents.placements("a")] == ["2.png"]


def test_doubts_outlast_what_is_written_of_an_item(
    documents: Documents, counts: Counts, state: State
) -> None:
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("x.png")])
    documents.save(item("x.png", state=ItemState.KEPT, sha256=sha256_of("x")))
    documents.add(MONDAY, [record("a", sha256="changed")])
    documents.save(item("x.png", state=ItemState.REJECTED, sha256=sha256_of("x")))
    revisions, url = Revisions(state), "https://reader.example/x.png"
    assert revisions.is_in_doubt(url, retried=False)
    revisions.fail(url, "not now")
    assert not revisions.is_in_doubt(url, retried=True)  # it was tried in this run
    assert not Revisions(state).is_in_doubt(url, retried=False)
    assert Revisions(state).is_in_doubt(url, retried=True)
    assert counts.troubles(MONDAY, 10) == [(url, "not now")]
    revisions.settle(url)
    assert not Revisions(state).is_in_doubt(url, retried=True)


def test_an_item_in_two_places_is_one(documents: Documents, counts: Counts) -> None:
    documents.add(MONDAY, [record("a"), record("b")])
    documents.place("a", [placement("x.png")])
    documents.save(item("x.png", state=ItemState.KEPT, sha256=sha256_of("x"), file="blobs/x"))
    documents.place("b", [placement("x.png")])
    assert documents.item("https://reader.example/x.png").state is ItemState.KEPT
    assert counts.count_items() == {"kept": 1}


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


# -- how many ----------------------------------------------------------------------------------------------


def test_counts_are_of_a_range_and_bytes_are_counted_once(
    documents: Documents, counts: Counts, state: State
) -> None:
    ended_day(state, MONDAY, {"a": ["1.png", "2.png"], "b": ["2.png"]})
    ended_day(state, MONDAY + ONE_DAY, {"c": ["3.png"]}, wanted=False)
    assert counts.count_items() == {"kept": 2, "rejected": 1}
    assert counts.count_items(MONDAY, MONDAY) == {"kept": 2}
    assert counts.count_wanted(MONDAY, Fingerprints(MODEL, "x")) == 2
    assert counts.count_wanted(MONDAY, Fingerprints("newer", MODEL)) == 0
    assert counts.number_of_files() == 2
    assert counts.count_wanted(MONDAY + ONE_DAY, Fingerprints(MODEL, MODEL)) == 0
    Results(state).save(judgement(sha256_of("3.png"), model="newer"))
    assert counts.count_wanted(MONDAY + ONE_DAY, Fingerprints("newer", MODEL)) == 1
    KeptFiles(state).replace(sha256_of("1.png"), [KeptFile(0, "blobs/1.png", 7)])
    assert counts.number_of_files() == 2
    KeptFiles(state).replace(sha256_of("2.png"), [KeptFile(1, "blobs/page.png", 0)])
    assert counts.number_of_files() == 3
    assert counts.disk_bytes() == 14


def test_days_with_files_have_ends(documents: Documents, counts: Counts, state: State) -> None:
    assert counts.ends_of_files() is None
    ended_day(state, MONDAY, {"a": ["1.png"]}, wanted=False)
    assert counts.ends_of_files() is None
    ended_day(state, MONDAY + ONE_DAY, {"b": ["2.png"]})
    ended_day(state, MONDAY + 3 * ONE_DAY, {"c": ["3.png"]}, wanted=False)
    assert counts.ends_of_files() == (MONDAY + ONE_DAY, MONDAY + ONE_DAY)
    KeptFiles(state).replace(sha256_of("3.png"), [KeptFile(1, "blobs/page.png", 7)])
    assert counts.ends_of_files() == (MONDAY + ONE_DAY, MONDAY + 3 * ONE_DAY)


def test_items_judged_by_another_model_are_counted(
    documents: Documents, counts: Counts, state: State
) -> None:
    ended_day(state, MONDAY, {"a": ["1.png", "2.png"]})
    assert counts.count_judged_otherwise(Fingerprints(MODEL, "x")) == 0
    assert counts.count_judged_otherwise(Fingerprints("newer", MODEL)) == 2
    Results(state).save(judgement(sha256_of("1.png"), model="newer"))
    documents.save(replace(documents.item("https://reader.example/1.png"), model="newer"))
    assert counts.count_judged_otherwise(Fingerprints("newer", MODEL)) == 1


def test_what_stays_by_an_older_verdict_is_counted_and_named(documents: Documents, counts: Counts) -> None:
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("x.png"), placement("y.png")])
    documents.save(item("x.png", state=ItemState.KEPT, error=f"{NOT_JUDGED}no memory"))
    documents.save(item("y.png", state=ItemState.KEPT, error="a note"))
    documents.save(item("z.png", state=ItemState.KEPT, error=f"{NOT_JUDGED}of no day"))
    assert counts.count_not_judged(MONDAY) == 1
    assert counts.count_not_judged(MONDAY + ONE_DAY) == 0
    assert counts.troubles(MONDAY, 10) == [
        ("https://reader.example/x.png", "could not be judged again: no memory")
    ]


@pytest.mark.parametrize(
    ("code", "error", "what", "is_in_part"),
    [
        ("invalid_image", None, ItemState.KEPT, True),
        ("invalid_image", None, ItemState.GONE, False),
        ("invalid_image", "torn", ItemState.FAILED, False),
        (None, None, ItemState.KEPT, False),
    ],
)
def test_days_with_documents_seen_in_part_are_known(
    code: str | None,
    error: str | None,
    what: ItemState,
    is_in_part: bool,
    documents: Documents,
    counts: Counts,
    state: State,
) -> None:
    documents.add(MONDAY, [record("a")])
    documents.place("a", [placement("x.png")])
    same = sha256_of("x")
    documents.save(item("x.png", state=what, sha256=same, model=MODEL))
    Results(state).save(replace(judgement(same, pages=1), code=code, error=error))
    assert counts.has_pages_to_look_at(MONDAY) is is_in_part
    assert not counts.has_pages_to_look_at(MONDAY + ONE_DAY)
    documents.save(item("x.png", state=what, sha256=same, model="newer"))
    assert not counts.has_pages_to_look_at(MONDAY)


def test_troubles_name_publications_and_files_with_reasons(documents: Documents, counts: Counts) -> None:
    documents.add(MONDAY, [record("a"), record("b")])
    documents.place("a", [placement("x.png"), placement("y.png")])
    documents.place("b", [placement("x.png")], failure="no text")
    documents.save(item("x.png", state=ItemState.FAILED, error="torn"))
    documents.save(item("y.png", state=ItemState.GONE, error="gone"))
    assert counts.troubles(MONDAY, 10) == [("b", "no text"), ("https://reader.example/x.png", "torn")]
    assert len(counts.troubles(MONDAY, 1)) == 1
