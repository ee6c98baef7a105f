"""Which files stay, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stored import MODEL, judgement, sha256_of

from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.store.blobs import blob_path
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFile, KeptFiles
from sightline.jobs.koop.store.results import Results
from sightline.jobs.koop.store.state import State

PDF = sha256_of("pdf")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


@pytest.fixture
def kept(state: State) -> KeptFiles:
    return KeptFiles(state)


def saved(state: State, name: str, /, **changes: object) -> None:
    usual = Item(f"https://reader.example/{name}", ItemKind.ATTACHMENT, ItemState.KEPT, sha256=PDF)
    Documents(state).save(replace(usual, **changes))


def judged(state: State, model: str, *wanted: int, pages: int = 3) -> None:
    """A judgement on the PDF by which these pages are wanted."""
    found = judgement(PDF, model=model, pages=pages)
    verdicts = tuple(replace(each, would_download=each.page in wanted) for each in found.verdicts)
    Results(state).save(replace(found, verdicts=verdicts))


def test_bytes_are_needed_as_long_as_any_item_waits_for_them(state: State, kept: KeptFiles) -> None:
    saved(state, "a", file="blobs/same")
    saved(state, "b", state=ItemState.FETCHED, file="blobs/same")
    assert kept.needs_bytes(PDF)
    saved(state, "a", state=ItemState.REJECTED, file="blobs/same")
    assert kept.needs_bytes(PDF)
    saved(state, "b", state=ItemState.REJECTED, file="blobs/same")
    assert not kept.needs_bytes(PDF)
    assert [each.url[-1] for each in Documents(state).undropped()] == ["a", "b"]


def test_files_that_stay_replace_those_before(kept: KeptFiles) -> None:
    one, two, three = (KeptFile(number, f"blobs/{number}", 10, 20, 30) for number in (1, 2, 3))
    assert kept.replace("pdf", [one, two]) == []
    assert kept.replace("other", [two]) == []
    assert kept.replace("pdf", [two, three]) == ["blobs/1"]
    assert kept.of("pdf") == {2: two, 3: three}
    assert kept.replace("pdf", []) == ["blobs/3"]  # the other one still has the second
    assert kept.names("blobs/2")
    assert not kept.names("blobs/3")


@pytest.mark.parametrize(
    ("item", "is_needed"),
    [
        (ItemState.KEPT, True),
        (ItemState.FETCHED, True),
        (ItemState.REJECTED, False),
        (ItemState.FAILED, False),
    ],
)
def test_a_file_that_an_item_has_is_needed(
    item: ItemState, is_needed: bool, state: State, kept: KeptFiles
) -> None:
    mine, other = blob_path(PDF, "pdf"), blob_path(sha256_of("other"), "png")
    saved(state, "a", state=item, file=mine)
    kept.replace(PDF, [KeptFile(0, mine, 7)])
    assert kept.unneeded([other, mine]) == [other]
    assert kept.replace(PDF, []) == ([] if is_needed else [mine])
    assert kept.unneeded([other, mine]) == ([other] if is_needed else [other, mine])


def test_pages_are_wanted_by_the_verdicts_that_decided(state: State, kept: KeptFiles) -> None:
    judged(state, MODEL, 1)
    judged(state, "newer", 2, 3)
    assert kept.wanted_pages(PDF) == set()
    saved(state, "a", model=MODEL)
    assert kept.wanted_pages(PDF) == {1}
    saved(state, "b", model="newer")
    assert kept.wanted_pages(PDF) == {1, 2, 3}
    saved(state, "c", sha256=sha256_of("other"), model=None)
    saved(state, "a", model=MODEL, state=ItemState.REJECTED)
    assert kept.wanted_pages(PDF) == {2, 3}
    saved(state, "b", model="newer", state=ItemState.CLASSIFIED)
    assert kept.wanted_pages(PDF) == set()
    saved(state, "a", model=MODEL, state=ItemState.FAILED)
    assert kept.wanted_pages(PDF) == {1}


def test_the_whole_is_wanted_of_what_is_kept_as_it_came(state: State, kept: KeptFiles) -> None:
    saved(state, "a", model=None)
    assert kept.wanted_pages(PDF) == {0}
    judged(state, MODEL, pages=0)
    saved(state, "a", model=MODEL)
    assert kept.wanted_pages(PDF) == {0}
    saved(state, "a", model=MODEL, state=ItemState.FAILED)
    assert kept.wanted_pages(PDF) == set()
