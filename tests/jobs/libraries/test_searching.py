"""Searches by words, by example, by what is not wanted, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.jobs.libraries.test_indexing import BLUE, GREEN, RED, indexed

from sightline.errors import InvalidRequest, LibraryOutdated
from sightline.imaging import Picture
from sightline.jobs.libraries.duplicates import Kind, duplicate_groups
from sightline.jobs.libraries.searching import Query, Searcher
from sightline.libraries import Filter, Library, Shelf
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Context
from sightline.settings import Settings


def lasting() -> Context:
    return Context.lasting(60)


@pytest.fixture
async def library(analyzer: Analyzer, shelf: Shelf, tmp_path: Path, paint):
    folder = tmp_path / "pictures"
    for number, (name, colour) in enumerate({"red": RED, "green": GREEN, "blue": BLUE}.items()):
        for copy in range(2):
            paint(folder / f"{name}-{copy}.jpg", colour, 10 * number + copy)
    paint(folder / "yellow.jpg", (200, 200, 20), 99)
    with shelf.open("photos", create=True) as library:
        await indexed(analyzer, library, folder, tasks=["brightness"])
        yield library


async def names(analyzer: Analyzer, library: Library, **asked) -> list[str]:
    found = await Searcher(analyzer, library).search(Query(**asked), lasting())
    return [Path(hit.item.path).stem for hit in found.hits]


def opened(analyzer: Analyzer, path: Path) -> Picture:
    return analyzer.open(path.read_bytes())


async def test_words_find_what_they_mean(analyzer, library) -> None:
    assert set(await names(analyzer, library, text="green", most=2)) == {"green-0", "green-1"}
    assert (await names(analyzer, library, text="red green", most=1)) == ["yellow"]


async def test_words_of_names_and_answers_count(analyzer, library) -> None:
    found = await Searcher(analyzer, library).search(Query(text="rather gloomy", most=20), lasting())
    assert {hit.matched for hit in found.hits} >= {("picture", "words")}


async def test_an_example_finds_its_like_and_itself_first(analyzer, library, tmp_path: Path) -> None:
    picture = opened(analyzer, tmp_path / "pictures" / "blue-1.jpg")
    assert (await names(analyzer, library, like=[picture], most=2)) == ["blue-1", "blue-0"]
    (blue,) = library.ids(Filter(where="path ~ blue-0")).tolist()
    assert set(await names(analyzer, library, like_items=[blue], most=2)) == {"blue-0", "blue-1"}


async def test_what_is_not_wanted_goes_down(analyzer, library) -> None:
    assert (await names(analyzer, library, text="red green", most=1)) == ["yellow"]
    without = await names(analyzer, library, text="red green", minus=["red"], most=7)
    assert without[0].startswith("green")


async def test_a_filter_comes_first(analyzer, library) -> None:
    wanted = Filter(where="path ~ blue")
    assert set(await names(analyzer, library, text="red", wanted=wanted)) == {"blue-0", "blue-1"}
    assert set(await names(analyzer, library, wanted=wanted)) == {"blue-0", "blue-1"}
    assert await names(analyzer, library, text="red", wanted=Filter(where="path ~ nothing")) == []


async def test_copies_are_shown_once(analyzer, library, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "copy.jpg").write_bytes((folder / "yellow.jpg").read_bytes())
    await indexed(analyzer, library)
    found = await Searcher(analyzer, library).search(Query(text="yellow", most=3), lasting())
    assert [len(hit.copies) for hit in found.hits] == [1, 0, 0]
    assert len(await names(analyzer, library, text="yellow", with_copies=True)) == 8


@pytest.mark.parametrize(
    "asked",
    [{"minus": ["red"]}, {"text": "x" * 1001}, {"text": "red", "minus": ["y" * 1001]}, {"like_items": [99]}],
)
async def test_queries_that_are_refused(analyzer, library, asked) -> None:
    with pytest.raises(InvalidRequest):
        await names(analyzer, library, **asked)


async def test_a_space_without_words_says_so(analyzer, shelf: Shelf, library, tmp_path: Path) -> None:
    with shelf.open("mute", create=True) as mute:
        await indexed(analyzer, mute, tmp_path / "pictures", spaces=["mute"])
        with pytest.raises(InvalidRequest):
            await names(analyzer, mute, text="red")
        picture = opened(analyzer, tmp_path / "pictures" / "blue-1.jpg")
        assert (await names(analyzer, mute, like=[picture], most=1)) == ["blue-1"]


async def test_an_example_is_not_compared_with_vectors_of_another_model(
    settings: Settings, library, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("STAND_IN_TAG", "p2")
    async with Analyzer.create(settings) as analyzer:
        with pytest.raises(LibraryOutdated):
            await names(analyzer, library, like=[opened(analyzer, tmp_path / "pictures" / "blue-1.jpg")])


async def test_an_empty_library_has_no_hits(analyzer, shelf: Shelf) -> None:
    with shelf.open("empty", create=True) as library:
        assert await names(analyzer, library, text="red") == []
        assert duplicate_groups(library) == []


async def test_scores_stand_out_of_many(analyzer, shelf: Shelf, tmp_path: Path, paint) -> None:
    folder = tmp_path / "many"
    for number in range(60):
        paint(folder / f"{number}.jpg", (180 + number % 7, 30 + number % 5, 30), number)
    paint(folder / "green.jpg", GREEN, 1)
    with shelf.open("many", create=True) as library:
        await indexed(analyzer, library, folder)
        found = await Searcher(analyzer, library).search(Query(text="green", min_score=0.5), lasting())
    assert [Path(hit.item.path).stem for hit in found.hits] == ["green"]
    assert found.hits[0].score is not None
    assert found.hits[0].score > 0.99


async def test_groups_of_photos_that_show_the_same(analyzer, shelf: Shelf, tmp_path: Path, paint) -> None:
    folder = tmp_path / "pictures"
    best = paint(folder / "best.png", RED, 5)
    (folder / "equal.png").write_bytes(best.read_bytes())
    paint(folder / "worse.jpg", RED, 5, quality=60)
    paint(folder / "other.jpg", RED, 6)
    with shelf.open("copies", create=True) as library:
        await indexed(analyzer, library, folder)
        groups = {group.kind: group for group in duplicate_groups(library)}
    assert {Path(item.path).name for item in groups[Kind.EXACT].items} == {"best.png", "equal.png"}
    near = [Path(item.path).name for item in groups[Kind.NEAR].items]
    assert near[0] == "best.png"
    assert set(near) == {"best.png", "worse.jpg"}
