"""What ``sightline analyze`` does not show: see tests/cli/test_analyze.py for the rest."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import InvalidRequest
from sightline.jobs.looking import Room, for_many, look_at, read_image
from sightline.runtime.analyzer import Analyzer, Task
from sightline.settings import Settings


def test_a_file_is_read_one_byte_past_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    assert len(read_image(str(tmp_path / "a"), 100)) == 100
    assert len(read_image(str(tmp_path / "a"), 99)) == 100
    assert len(read_image(str(tmp_path / "a"), 10)) == 11


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "No such file"), (".", "Is a directory"), ("a\0b", "embedded null byte")]
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^cannot be read: {said}"):
        read_image(f"{tmp_path}/{name}", 10)


async def test_photos_wait_for_room_and_one_that_is_larger_than_all_of_it_goes_alone() -> None:
    room, begun, gates = Room(100), [], {pixels: asyncio.Event() for pixels in (60, 40, 50, 500)}

    async def look(pixels: int) -> None:
        async with room.taken(pixels):
            begun.append(pixels)
            await gates[pixels].wait()

    looking = [asyncio.create_task(look(pixels)) for pixels in gates]
    for pixels, expected in (
        (None, [60, 40]),
        (60, [60, 40, 50]),
        (40, [60, 40, 50]),
        (50, [60, 40, 50, 500]),
    ):
        if pixels is not None:
            gates[pixels].set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert begun == expected
    gates[500].set()
    await asyncio.gather(*looking)


async def test_who_stops_waiting_or_looking_leaves_the_room_as_it_was() -> None:
    room = Room(10)

    async def hold() -> None:
        async with room.taken(10):
            await asyncio.Event().wait()

    for _ in range(2):
        looking = [asyncio.create_task(hold()) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in reversed(looking):
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    async with asyncio.timeout(5), room.taken(10):
        pass


@pytest.mark.parametrize(
    ("given", "number", "slots"),
    [
        ({"threads": 2}, 1000, 2),
        ({"threads": 8}, 1000, 2),
        ({"threads": 8}, 64, 2),
        ({"threads": 8}, 63, 1),
        ({"threads": 8}, 1, 1),
        ({"threads": 1}, 1000, 1),
        ({"threads": 2, "compute_slots": 1}, 1000, 1),
        ({"threads": 2, "compute_slots": 3}, 10, 3),
        ({"threads": 2, "device": "cuda", "graph_runtime": "onnxruntime"}, 1000, 1),
    ],
)
def test_many_photos_are_computed_in_two_halves_unless_said_otherwise(
    given: dict[str, Any], number: int, slots: int
) -> None:
    settings = for_many(Settings(_env_file=None, **given), number)
    assert settings.compute_slots == slots
    assert settings.queue_items > 1000, "and no queue refuses one"


async def test_a_run_that_ends_early_leaves_no_photo_under_way(
    settings: Settings, cup: bytes, tmp_path: Path
) -> None:
    photo = tmp_path / "cup.jpg"
    photo.write_bytes(cup)
    async with Analyzer.create(for_many(settings, 100)) as analyzer:
        task = analyzer.bind(Task("look", "embed_clip"))
        async with aclosing(look_at(analyzer, [str(photo)] * 100, [task], 60, crops=False)) as stream:
            async for seen in stream:
                assert seen.error is None
                break
        assert asyncio.all_tasks() == {asyncio.current_task(), *_housekeeping()}


def _housekeeping() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task.get_name() == "housekeeping"}
