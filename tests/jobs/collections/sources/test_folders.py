"""Which files of a folder are looked at. What becomes of them is in test_embedding.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.collections import Collections
from sightline.errors import InvalidRequest
from sightline.jobs.collections.kept_vectors import KeptVectors
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources import silent
from sightline.jobs.collections.sources.folders import Folders
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings

Open = Callable[..., Folders]


@pytest.fixture
async def analyzer(settings: Settings) -> AsyncIterator[Analyzer]:
    async with Analyzer.create(settings) as found:
        yield found


@pytest.fixture
def kept(collections: Collections) -> Iterator[KeptVectors]:
    found = KeptVectors(collections)
    yield found
    found.close()


@pytest.fixture
def opened(analyzer: Analyzer, kept: KeptVectors) -> Open:
    return lambda folder, name=None: Folders(folder, analyzer, Plan(), kept, name)


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def filled(folder: Path, first: int = 0) -> Path:
    for number in range(12):
        picture(folder / ("in" if number % 2 else "out") / f"{number}.png", first + number)
    return folder


async def test_folders_below_are_searched_and_hidden_ones_are_not(opened: Open, tmp_path: Path) -> None:
    folder = filled(tmp_path / "cats")
    picture(folder / "in" / "2025" / "may" / "1.JPG", 100)
    picture(folder / "out" / ".trash" / "2.png", 101)
    picture(folder / "in" / "._3.png", 102)
    picture(folder / "other" / "4.png", 103)
    (folder / "in" / "notes.txt").write_text("no picture")
    source = opened(folder)
    (offer,) = await source.offers()
    found = await source.examples(offer, silent)
    assert (len(found.examples), found.examples.positives, found.skipped) == (13, 7, ())


async def test_pictures_of_one_name_and_several_kinds_are_all_taken(opened: Open, tmp_path: Path) -> None:
    folder = filled(tmp_path / "cats")
    for number, kind in enumerate(("jpg", "webp", "bmp", "tif")):
        picture(folder / "in" / f"same.{kind}", 200 + number)
    source = opened(folder)
    found = await source.examples((await source.offers())[0], silent)
    assert found.examples.positives == 10


async def test_a_collection_is_called_like_its_folder_or_as_one_says(opened: Open, tmp_path: Path) -> None:
    folder = filled(tmp_path / "cats")
    assert [offer.collection for offer in await opened(folder).offers()] == ["cats"]
    assert [offer.collection for offer in await opened(folder, "7").offers()] == ["7"]
    assert [offer.collection for offer in await opened(folder / "in" / "..").offers()] == ["cats"]


@pytest.mark.parametrize("name", ["my cats", "..", "-x", "ünï", "a" * 65])
async def test_a_name_that_no_collection_can_have(opened: Open, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a collection's id"):
        await opened(filled(tmp_path / "cats"), name).offers()


async def test_a_folder_without_both_parts_is_none(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "cats" / "in").mkdir(parents=True)
    for folder in (tmp_path / "cats", tmp_path):
        with pytest.raises(InvalidRequest, match="has no folders in/ and out/, nor have the folders in it"):
            await opened(folder).offers()


async def test_several_collections_keep_apart(opened: Open, tmp_path: Path) -> None:
    filled(tmp_path / "all" / "cats")
    filled(tmp_path / "all" / "dogs", first=50)
    source = opened(tmp_path / "all")
    cats, dogs = [await source.examples(offer, silent) for offer in await source.offers()]
    assert not set(cats.images) & set(dogs.images)


async def test_a_file_too_large_is_listed(models_dir: Path, tmp_path: Path, kept: KeptVectors) -> None:
    folder = filled(tmp_path / "cats")
    (folder / "in" / "large.png").write_bytes((folder / "in" / "1.png").read_bytes() + bytes(10_000))
    settings = Settings(models_dir=models_dir, offline=True, allow_random_weights=True, image_max_bytes=5_000)
    async with Analyzer.create(settings) as analyzer:
        source = Folders(folder, analyzer, Plan(), kept)
        found = await source.examples((await source.offers())[0], silent)
    assert [each.name for each in found.skipped] == ["in/large.png"]
    assert "at most 5000 are accepted" in found.skipped[0].reason
