"""Files that no decision has any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stored import MODEL, MONDAY, judgement, placement, record, sha256_of

from sightline.jobs.koop.archive.contents import PDF_TYPE
from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFile, KeptFiles, remove_abandoned
from sightline.jobs.koop.store.results import Results
from sightline.jobs.koop.store.state import State

PDF = sha256_of("pdf")


class Bench:
    """A folder with one decision, and files that are placed there or not."""

    def __init__(self, root: Path, state: State) -> None:
        self.state = state
        self.documents = Documents(state)
        self.counts = Counts(state)
        self.kept = KeptFiles(state)
        self.blobs = Blobs(root)
        self.blobs.prepare()
        self.documents.add(MONDAY, [record("a")])

    def put(self, name: str, sha256: str | None = None) -> str:
        return self.blobs.put(name.encode(), sha256 or sha256_of(name), "png")

    def item(self, name: str, state: ItemState = ItemState.KEPT, sha256: str | None = None) -> Item:
        """A picture that is here if it is kept."""
        digest = sha256 or sha256_of(name)
        file = self.put(name, digest) if state in (ItemState.KEPT, ItemState.FETCHED) else None
        item = Item(
            f"https://reader.example/{name}",
            ItemKind.ILLUSTRATION,
            state,
            sha256=digest,
            file=file,
            model=MODEL,
        )
        self.documents.save(item)
        if state is ItemState.KEPT and file is not None:
            self.kept.replace(digest, [KeptFile(0, file, 7)])
        return item

    def place(self, *names: str) -> None:
        self.documents.place("a", [placement(each) for each in names])

    def let_go(self) -> list[str]:
        """Names of the items that are left."""
        remove_abandoned(self.state, self.blobs)
        return [row["url"].rsplit("/", 1)[1] for row in self.state.rows("SELECT url FROM items ORDER BY url")]

    def here(self) -> set[str]:
        return set(self.blobs.paths(0.0))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with State(tmp_path / "koop.sqlite") as state:
        yield Bench(tmp_path, state)


def test_what_is_placed_stays_and_the_rest_goes(bench: Bench) -> None:
    one = bench.item("1.png")
    bench.item("2.png")
    bench.item("3.png", ItemState.REJECTED)
    bench.item("4.png", ItemState.FETCHED)
    bench.place("1.png")
    assert bench.let_go() == ["1.png"]
    assert bench.here() == {one.file}
    assert bench.counts.number_of_files() == 1
    assert bench.let_go() == ["1.png"]


def test_many_go_as_well(bench: Bench) -> None:
    for number in range(450):
        bench.item(f"{number}.png")
    assert bench.let_go() == []
    assert bench.here() == set()


def test_bytes_that_another_one_has_stay(bench: Bench) -> None:
    same = sha256_of("same")
    one = bench.item("1.png", sha256=same)
    bench.item("2.png", sha256=same)
    bench.place("1.png")
    assert bench.let_go() == ["1.png"]
    assert bench.here() == {one.file}
    assert set(bench.kept.of(same)) == {0}


def test_pages_go_with_the_last_item_that_wants_them(bench: Bench) -> None:
    Results(bench.state).save(judgement(PDF, pages=2))
    page = bench.put("page two")
    for name in ("1.pdf", "2.pdf"):
        file = bench.put("the whole", PDF)
        bench.documents.save(
            Item(
                f"https://reader.example/{name}", ItemKind.ATTACHMENT, ItemState.KEPT, sha256=PDF,
                mime=PDF_TYPE, file=file, model=MODEL,
            )
        )  # fmt: skip
    bench.kept.replace(PDF, [KeptFile(2, page, 7)])
    bench.place("1.pdf")
    assert bench.let_go() == ["1.pdf"]
    assert bench.here() == {file, page}
    bench.documents.place("a", [])
    assert bench.let_go() == []
    assert bench.here() == set()
    assert bench.kept.of(PDF) == {}


def test_pages_of_bytes_that_no_item_has_any_more_go(bench: Bench) -> None:
    page = bench.put("a page")
    bench.kept.replace(PDF, [KeptFile(1, page, 7)])
    assert bench.let_go() == []
    assert bench.here() == set()


def test_what_another_file_takes_the_place_of_waits_for_it(bench: Bench) -> None:
    before = bench.item("1.png")
    bench.place("1.png")
    after = Item(before.url, before.kind, ItemState.FETCHED, sha256=sha256_of("new"), file=bench.put("new"))
    bench.documents.supersede(before, after)
    assert bench.let_go() == ["1.png", f"1.png#{before.sha256}"]
    assert bench.here() == {before.file, after.file}
    bench.documents.save(Item(after.url, after.kind, ItemState.KEPT, sha256=after.sha256, file=after.file))
    assert bench.let_go() == ["1.png"]
    assert bench.here() == {after.file}


def test_a_file_that_cannot_be_removed_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.item("1.png")

    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bench.blobs, "remove", refused)
    assert bench.let_go() == []
