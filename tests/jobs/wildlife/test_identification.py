"""A run, with an identifier that can be told what to say."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sightline import operations
from sightline.errors import InvalidImage, InvalidRequest, ModelUnavailable
from sightline.jobs.describing import RunEnded
from sightline.jobs.wildlife.boxes import Boxes
from sightline.jobs.wildlife.checkpoint import checkpoint_beside, checkpoint_path
from sightline.jobs.wildlife.identification import Identification, PhotoEnd, PhotoStatus, Tally
from sightline.jobs.wildlife.identifying import Identified, Query
from sightline.jobs.wildlife.inputs import Inputs
from sightline.jobs.wildlife.photos import Photo, PhotoFolder, Unreadable
from sightline.jobs.wildlife.places import Place, Places
from sightline.jobs.wildlife.predictions import PredictionsFormat

QUERY = Query(operations.catalogue(), {"version": "v4.0.3a", "format": "speciesnet-4", "min_confidence": 0.1})


@dataclass
class Scripted:
    """Says of each photo what it is called, or what ``says`` has under its name: an error is raised."""

    says: Mapping[str, BaseException] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=lambda: {"net": "1"})
    asked: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def load(self) -> Mapping[str, str]:
        return self.models

    async def identify(self, photo: Path, place: Place, boxes: Boxes | None = None) -> Identified:
        self.asked.append(photo.name)
        self.places.append(place)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0.001)  # so that all workers get to begin
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if error := self.says.get(photo.name):
            raise error
        entry = {"filepath": "sha256", **place.known(), "prediction": f"a {photo.stem}", "score": 1 / 3}
        return Identified(entry, ("made up",))


@dataclass
class Done:
    tally: Tally
    reported: list[PhotoEnd]
    out: Path

    @property
    def counts(self) -> tuple[int, int, int]:
        identified, kept, failed = (self.tally.counts[status] for status in PhotoStatus)
        return identified, kept, failed

    @property
    def predictions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out.read_text())["predictions"]
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch(tmp_path / "photos", "b.jpg", "cam2/a.jpg", "cam1/z.JPG", "cam1/day1/x.png", "notes.txt")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Callable[..., Any]:
    """``await run(identifier)`` over the folder, and the file that comes of it."""

    async def run(
        identifier: Scripted,
        places: Places | None = None,
        *,
        query: Query = QUERY,
        force: bool = False,
        boxes: Mapping[str, Boxes] | None = None,
        **more: Any,
    ) -> Done:
        out, reported = tmp_path / "predictions.json", []
        photos = PhotoFolder(more.pop("folder", folder), more.pop("recursive", True))
        with checkpoint_beside(out) as checkpoint:
            job = Identification(
                Inputs(photos, places or Places(), boxes or {}),
                query,
                identifier,
                checkpoint,
                reported.append,
                **more,
            )
            await job.prepare(out, force=force)
            await job.run()
            job.write(out, PredictionsFormat(query.params["format"]))
        return Done(job.tally, reported, out)

    return run


async def test_every_photo_has_its_entry_ordered_by_path(run) -> None:
    done = await run(Scripted(), Places(Place("KEN")))
    assert done.counts == (4, 0, 0)
    assert done.predictions == [
        {"filepath": name, "country": "KEN", "prediction": f"a {stem}", "score": 0.3333}
        for name, stem in (("b.jpg", "b"), ("cam1/day1/x.png", "x"), ("cam1/z.JPG", "z"), ("cam2/a.jpg", "a"))
    ]
    assert list(done.predictions[0]) == ["filepath", "country", "prediction", "score"]
    assert done.tally.warnings == ["made up"]


async def test_folders_below_can_be_left_out(run) -> None:
    assert [each["filepath"] for each in (await run(Scripted(), recursive=False)).predictions] == ["b.jpg"]


async def test_a_second_run_does_what_is_new_changed_or_failed(run, folder: Path) -> None:
    first = await run(Scripted({"b.jpg": InvalidImage("it is torn")}))
    assert first.counts == (3, 0, 1)
    touch(folder, "new.jpg")
    os.utime(folder / "cam2" / "a.jpg", ns=(5, 5))
    (folder / "cam1" / "z.JPG").unlink()
    identifier = Scripted()
    second = await run(identifier)
    assert second.counts == (3, 1, 0)
    assert sorted(identifier.asked) == ["a.jpg", "b.jpg", "new.jpg"]
    assert [each["filepath"] for each in second.predictions] == [
        "b.jpg", "cam1/day1/x.png", "cam2/a.jpg", "new.jpg",
    ]  # fmt: skip
    assert not any("failures" in each for each in second.predictions)


async def test_only_what_no_run_has_found_is_counted_beforehand(run, folder: Path, tmp_path: Path) -> None:
    await run(Scripted({"b.jpg": InvalidImage("it is torn")}))
    touch(folder, "new.jpg")
    with checkpoint_beside(tmp_path / "predictions.json") as checkpoint:
        checkpoint.resume()
        job = Identification(Inputs(PhotoFolder(folder), Places()), QUERY, Scripted(), checkpoint, print)
        assert await job.count() == 2


async def test_photos_that_fail_stop_nothing_and_have_failures(run) -> None:
    done = await run(
        Scripted({"b.jpg": InvalidImage("it is torn"), "x.png": ZeroDivisionError("a bug")}),
        Places(Place("KEN")),
    )
    assert done.counts == (2, 0, 2)
    assert {each.photo: each.reason for each in done.tally.failures} == {
        "b.jpg": "it is torn", "cam1/day1/x.png": "internal error: ZeroDivisionError: a bug",
    }  # fmt: skip
    assert done.predictions[0] == {
        "filepath": "b.jpg", "failures": ["CLASSIFIER", "DETECTOR"], "country": "KEN",
        "model_version": "4.0.3a",
    }  # fmt: skip
    assert "failures" in done.predictions[1]


async def test_a_photo_of_its_own_place_is_asked_about_that_and_anew_when_it_changes(run) -> None:
    identifier = Scripted()
    await run(identifier, Places(Place("KEN"), {"cam2/a.jpg": Place("TZA")}))
    assert dict(zip(identifier.asked, identifier.places, strict=True)) == {
        "b.jpg": Place("KEN"), "x.png": Place("KEN"), "z.JPG": Place("KEN"), "a.jpg": Place("TZA"),
    }  # fmt: skip
    again = Scripted()
    done = await run(again, Places(Place("KEN"), {"cam2/a.jpg": Place("UGA")}))
    assert (again.asked, done.counts) == (["a.jpg"], (1, 3, 0))
    assert done.predictions[-1]["country"] == "UGA"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"places": Places(Place("TZA"))}, "country KEN"),
        ({"places": Places()}, "country KEN"),
        ({"places": Places(Place("KEN", latitude=0.5, longitude=36.0))}, "no latitude, no longitude"),
        ({"identifier": Scripted(models={"net": "2"})}, r"other models \(net\)"),
        ({"query": Query(QUERY.catalogue, {**QUERY.params, "version": "v4.0.1a"})}, "version v4.0.3a"),
        (
            {"query": Query(QUERY.catalogue, {**QUERY.params, "format": "speciesnet-5"})},
            "format speciesnet-4",
        ),
    ],
)
async def test_answers_to_other_questions_are_not_mixed(run, change: dict[str, Any], said: str) -> None:
    before = await run(Scripted(), Places(Place("KEN")))
    old = before.out.read_bytes()
    arguments = {"identifier": Scripted(), "places": Places(Place("KEN")), **change}
    identifier = arguments.pop("identifier")
    with pytest.raises(InvalidRequest, match=f"was begun with {said}: answers are not mixed; --force"):
        await run(identifier, arguments.pop("places"), **arguments)
    assert identifier.asked == []
    assert before.out.read_bytes() == old
    assert (
        await run(identifier, change.get("places"), query=change.get("query", QUERY), force=True)
    ).counts == (4, 0, 0)


async def test_a_folder_that_was_renamed_goes_on(run, folder: Path, tmp_path: Path) -> None:
    await run(Scripted({"b.jpg": InvalidImage("it is torn")}))
    moved = tmp_path / "elsewhere"
    await asyncio.to_thread(folder.rename, moved)
    identifier = Scripted()
    done = await run(identifier, folder=moved)
    assert (done.counts, identifier.asked) == ((1, 3, 0), ["b.jpg"])
    with pytest.raises(InvalidRequest, match="country"):
        await run(Scripted(), Places(Place("KEN")), folder=moved)


async def test_another_folder_is_not_mixed_in(run, tmp_path: Path) -> None:
    await run(Scripted())
    other = touch(tmp_path / "other", "b.jpg")
    with pytest.raises(InvalidRequest, match=r"was begun with folder .*photos: answers are not mixed"):
        await run(Scripted(), folder=other)


async def test_a_file_that_nobody_knows_is_kept_unless_forced(run, tmp_path: Path) -> None:
    out = tmp_path / "predictions.json"
    out.write_text("mine")
    with pytest.raises(InvalidRequest, match="without the checkpoint"):
        await run(Scripted())
    assert out.read_text() == "mine"
    assert not checkpoint_path(out).exists()
    assert len((await run(Scripted(), force=True)).predictions) == 4


async def test_missing_weights_are_said_before_anything_is_touched(run, tmp_path: Path) -> None:
    class Missing(Scripted):
        async def load(self) -> Mapping[str, str]:
            raise ModelUnavailable("no weights")

    await run(Scripted())
    before = (
        (tmp_path / "predictions.json").read_bytes(),
        checkpoint_path(tmp_path / "predictions.json").read_bytes(),
    )
    identifier = Missing()
    with pytest.raises(ModelUnavailable):
        await run(identifier, force=True)
    after = (
        (tmp_path / "predictions.json").read_bytes(),
        checkpoint_path(tmp_path / "predictions.json").read_bytes(),
    )
    assert (before, identifier.asked) == (after, [])


async def test_an_error_all_would_meet_ends_the_run_and_what_was_found_is_kept(run, tmp_path: Path) -> None:
    folder = touch(tmp_path / "many", *(f"{number:03}.jpg" for number in range(100)))
    identifier = Scripted({"020.jpg": RunEnded("the device is gone")})
    with pytest.raises(RunEnded, match="the device is gone"):
        await run(identifier, folder=folder, at_once=2)
    assert len(identifier.asked) < 25
    assert identifier.under_way == 0
    assert not (tmp_path / "predictions.json").exists()
    done = await run(Scripted(), folder=folder)
    assert done.counts[1] >= 19
    assert len(done.predictions) == 100


async def test_so_many_photos_are_under_way_and_no_more(run, tmp_path: Path) -> None:
    folder = touch(tmp_path / "many", *(f"{number}.jpg" for number in range(20)))
    identifier = Scripted()
    assert (await run(identifier, folder=folder, at_once=5)).counts == (20, 0, 0)
    assert identifier.most == 5


async def test_a_cancelled_run_leaves_what_it_found_and_the_next_gives_the_same_file(
    run, tmp_path: Path
) -> None:
    folder = touch(tmp_path / "many", *(f"{number:02}.jpg" for number in range(30)))
    identifier, out = Scripted(), tmp_path / "predictions.json"
    enough = asyncio.Event()
    with checkpoint_beside(out) as checkpoint:

        def hold(end: PhotoEnd) -> None:
            if job.tally.counts[PhotoStatus.IDENTIFIED] == 10:
                identifier.gate.clear()
                enough.set()

        job = Identification(
            Inputs(PhotoFolder(folder), Places()), QUERY, identifier, checkpoint, hold, at_once=3
        )
        await job.prepare(out)
        running = asyncio.create_task(job.run())
        await enough.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    kept = job.tally.counts[PhotoStatus.IDENTIFIED]
    done = await run(Scripted(), folder=folder)
    assert done.counts == (30 - kept, kept, 0)
    resumed = done.out.read_bytes()
    assert (await run(Scripted(), folder=folder, force=True)).out.read_bytes() == resumed


async def test_of_many_failures_and_warnings_a_hundred_are_kept(run, tmp_path: Path) -> None:
    names = [f"{number:03}.jpg" for number in range(250)]
    folder = touch(tmp_path / "many", *names)
    done = await run(Scripted({name: InvalidImage("it is torn") for name in names}), folder=folder)
    assert done.counts == (0, 0, 250)
    assert len(done.tally.failures) == 100
    tally = Tally()
    for number in range(250):
        tally.add(PhotoEnd("a.jpg", PhotoStatus.IDENTIFIED, warnings=(f"warning {number}",)))
    assert len(tally.warnings) == 100


async def test_names_that_are_no_text_come_through(run, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    touch(folder, name)
    await run(Scripted())
    done = await run(Scripted())
    assert done.counts == (0, 5, 0)
    assert any(os.fsencode(each["filepath"]) == b"caf\xe9.jpg" for each in done.predictions)


async def test_a_photo_that_leads_nowhere_fails_alone(run, folder: Path) -> None:
    (folder / "link.jpg").symlink_to("gone.jpg")
    assert (await run(Scripted({"link.jpg": InvalidRequest("cannot be read")}))).counts == (4, 0, 1)


async def test_a_folder_below_that_cannot_be_read_is_told(folder: Path, tmp_path: Path) -> None:
    class Locked(PhotoFolder):
        def __iter__(self) -> Iterator[Photo | Unreadable]:
            yield from super().__iter__()
            yield Unreadable(folder / "locked", PermissionError(errno.EACCES, "Permission denied"))

    with checkpoint_beside(tmp_path / "predictions.json") as checkpoint:
        job = Identification(
            Inputs(Locked(folder), Places()), QUERY, Scripted(), checkpoint, lambda end: None
        )
        await job.prepare(tmp_path / "predictions.json")
        await job.run()
    (failure,) = job.tally.failures
    assert (failure.photo, failure.reason) == ("locked", "the folder cannot be read: Permission denied")


async def test_answers_are_not_held_in_memory(run, tmp_path: Path) -> None:
    """Forty megabytes of them go through a twentieth of that."""
    folder = touch(tmp_path / "many", *(f"{number:03}.jpg" for number in range(400)))

    class Wordy(Scripted):
        async def identify(self, photo: Path, place: Place, boxes: Boxes | None = None) -> Identified:
            return Identified({"filepath": "", "prediction": photo.stem * 33_000})

    tracemalloc.start()
    try:
        await run(Wordy(), folder=folder)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert (tmp_path / "predictions.json").stat().st_size > 39e6


async def test_an_empty_folder_is_done_at_once(run, tmp_path: Path) -> None:
    done = await run(Scripted(), folder=touch(tmp_path / "empty", "notes.txt"))
    assert (done.counts, done.predictions) == ((0, 0, 0), [])


async def test_a_folder_that_cannot_be_read_is_an_error(run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run(Scripted(), folder=tmp_path / "gone")
