from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.errors import InvalidImage, TargetNotFound
from sightline.jobs import captioning
from sightline.jobs.captioning import HAS_CAPTION, Captioned, Captioning, CaptionStatus, Tally, write_whole
from sightline.jobs.describing import Description, RunEnded


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def counts(tally: Tally) -> tuple[int, int, int]:
    written, skipped, failed = (tally.counts[status] for status in CaptionStatus)
    return written, skipped, failed


async def run(folder: Path, describer, **options) -> tuple[Tally, list[Captioned]]:
    reported: list[Captioned] = []
    job = Captioning(folder, describer, reported.append, **options)
    await job.run()
    return job.tally, reported


async def test_each_image_gets_its_caption(tmp_path: Path, scripted) -> None:
    touch(tmp_path, "a.jpg", "b.png", "c.txt", "below/d.jpg")
    tally, reported = await run(tmp_path, scripted({"b.png": " a bridge, à Köln \n"}))
    assert counts(tally) == (2, 0, 0)
    assert (tmp_path / "a.txt").read_bytes() == b"this is a"
    assert (tmp_path / "b.txt").read_text("utf-8") == "a bridge, à Köln"
    assert {each.caption for each in reported} == {"this is a", "a bridge, à Köln"}
    assert not (tmp_path / "below" / "d.txt").exists()
    assert names(tmp_path) == ["a.jpg", "a.txt", "b.png", "b.txt", "below", "c.txt"]


async def test_captions_that_are_there_are_kept_unless_forced(tmp_path: Path, scripted) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "below/c.jpg")
    (tmp_path / "a.txt").write_text("by hand")
    describer = scripted()
    tally, _ = await run(tmp_path, describer, recursive=True)
    assert counts(tally) == (2, 1, 0)
    assert describer.asked == ["b.jpg", "c.jpg"]
    assert (tmp_path / "a.txt").read_text() == "by hand"
    assert tally.unusual == []
    tally, _ = await run(tmp_path, scripted(), recursive=True, force=True)
    assert counts(tally) == (3, 0, 0)
    assert (tmp_path / "a.txt").read_text() == "this is a"


async def test_only_what_has_no_caption_is_counted_beforehand(tmp_path: Path, scripted) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.jpg", "below/c.jpg")
    (tmp_path / "b.txt").write_text("a caption")
    for options, expected in (({}, 1), ({"force": True}, 2), ({"recursive": True}, 2)):
        assert await Captioning(tmp_path, scripted(), print, **options).count() == expected


async def test_a_caption_written_meanwhile_is_kept(tmp_path: Path, scripted) -> None:
    touch(tmp_path, "a.jpg")
    describer = scripted()
    describer.meanwhile = lambda image: image.with_suffix(".txt").write_text("by hand")
    tally, _ = await run(tmp_path, describer)
    assert counts(tally) == (0, 1, 0)
    assert (tmp_path / "a.txt").read_text() == "by hand"


async def test_of_images_with_one_caption_the_first_gets_it_and_the_rest_are_told(
    tmp_path: Path, scripted
) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    tally, _ = await run(tmp_path, scripted())
    assert counts(tally) == (2, 1, 0)
    (told,) = tally.unusual
    assert (told.image.name, told.status, told.reason) == (
        "a.png", CaptionStatus.SKIPPED, "a.txt is the caption of a.jpg",
    )  # fmt: skip


async def test_images_that_fail_stop_nothing(tmp_path: Path, scripted) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(9)))
    describer = scripted(
        {
            "1.jpg": InvalidImage("it is torn"),
            "2.jpg": TargetNotFound("no face"),
            "3.jpg": ZeroDivisionError("a bug"),
            "4.jpg": "  ",
        }
    )
    tally, reported = await run(tmp_path, describer, at_once=3)
    assert counts(tally) == (5, 1, 3)
    assert len(reported) == 9
    assert {each.image.name: each.reason for each in tally.unusual} == {
        "1.jpg": "it is torn", "2.jpg": "no face", "4.jpg": "the description is empty",
        "3.jpg": "internal error: ZeroDivisionError: a bug",
    }  # fmt: skip
    assert names(tmp_path, "*.txt") == ["0.txt", "5.txt", "6.txt", "7.txt", "8.txt"]


async def test_an_error_all_would_meet_ends_the_run_at_once(tmp_path: Path, scripted) -> None:
    touch(tmp_path, *(f"{number:03}.jpg" for number in range(200)))
    describer = scripted({"002.jpg": RunEnded("no weights")})
    job = Captioning(tmp_path, describer, lambda each: None, at_once=2)
    with pytest.raises(RunEnded, match="no weights"):
        await job.run()
    assert len(describer.asked) < 8
    assert job.tally.counts[CaptionStatus.WRITTEN] == len(names(tmp_path, "*.txt"))
    assert describer.under_way == 0


async def test_so_many_images_are_under_way_and_no_more(tmp_path: Path, scripted) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(20)))
    describer = scripted()
    tally, _ = await run(tmp_path, describer, at_once=5)
    assert describer.most == 5
    assert counts(tally) == (20, 0, 0)


async def test_a_slow_image_holds_up_no_other(tmp_path: Path, scripted) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(20)))
    slow = asyncio.Event()

    class OneSlow(scripted):
        async def describe(self, image: Path) -> Description:
            if image.name == "0.jpg":
                await slow.wait()
            return await super().describe(image)

    done: list[Captioned] = []

    def report(each: Captioned) -> None:
        done.append(each)
        if len(done) == 19:
            slow.set()

    await asyncio.wait_for(Captioning(tmp_path, OneSlow(), report, at_once=2).run(), 10)
    assert done[-1].image.name == "0.jpg"


async def test_a_cancelled_run_leaves_what_it_finished_and_the_next_goes_on(tmp_path: Path, scripted) -> None:
    touch(tmp_path, *(f"{number:02}.jpg" for number in range(30)))
    describer = scripted()

    enough = asyncio.Event()

    def hold(each: Captioned) -> None:
        if job.tally.counts[CaptionStatus.WRITTEN] == 10:
            describer.gate.clear()
            enough.set()

    job = Captioning(tmp_path, describer, hold, at_once=3)
    running = asyncio.create_task(job.run())
    await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    written = job.tally.counts[CaptionStatus.WRITTEN]
    assert written >= 10
    assert len(names(tmp_path, "*.txt")) == written
    assert names(tmp_path, ".*") == []
    again = scripted()
    tally, _ = await run(tmp_path, again)
    assert counts(tally) == (30 - written, written, 0)
    assert len(again.asked) == 30 - written


async def test_warnings_are_kept_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")

    class Random:
        async def describe(self, image: Path) -> Description:
            return Description("words", ("made up",))

    tally, _ = await run(tmp_path, Random())
    assert tally.warnings == ["made up"]


async def test_an_empty_folder_is_done_at_once(tmp_path: Path, scripted) -> None:
    assert counts((await run(tmp_path, scripted()))[0]) == (0, 0, 0)


async def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, scripted) -> None:
    with pytest.raises(FileNotFoundError):
        await run(tmp_path / "gone", scripted())


# -- writing -----------------------------------------------------------------------------------------------


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("n" * 251 + ".txt")  # no room for a longer name beside it
    path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            write_whole(path, "after")
    assert path.read_text() == "before"
    write_whole(path, "lone \ud800 surrogate")
    assert path.read_text() == "lone ? surrogate"
    assert list(tmp_path.iterdir()) == [path]


def test_captions_have_the_rights_of_any_new_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "words")
    (tmp_path / "b.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


async def test_a_caption_whose_place_is_taken_fails_alone(tmp_path: Path, scripted) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "a.txt/something")
    tally, _ = await run(tmp_path, scripted(), force=True)
    assert counts(tally) == (1, 0, 1)
    assert tally.unusual[0].reason is not None
    assert tally.unusual[0].reason.startswith("a.txt cannot be written: Is a directory")


async def test_a_full_disk_ends_the_run(tmp_path: Path, scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(50)))

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(captioning, "write_whole", full)
    describer = scripted()
    with pytest.raises(RunEnded, match=r"cannot be written: No space left on device"):
        await run(tmp_path, describer, at_once=2)
    assert len(describer.asked) < 8


UNPRIVILEGED = """
import asyncio, json, os, sys
from pathlib import Path
from sightline.jobs.captioning import Captioning
from sightline.jobs.describing import Description, RunEnded

asked = []

class Describer:
    async def describe(self, image):
        asked.append(image.name)
        return Description("words")

def run(folder):
    job = Captioning(Path(folder), Describer(), lambda each: None, recursive=True)
    try:
        asyncio.run(job.run())
    except RunEnded as error:
        return [str(error), asked]
    return [{each.image.name: each.reason for each in job.tally.unusual}, asked]

run(sys.argv[1])  # whatever is imported late is imported now
asked.clear()
if os.geteuid() == 0:
    os.seteuid(65534)
print(json.dumps(run(sys.argv[2])))
"""


@pytest.fixture
def locked() -> Iterator[Path]:
    """``outer/a.jpg``, and two images in ``outer/locked``, where nobody may write.

    Not below pytest's own folder, which other users cannot enter.
    """
    root = Path(tempfile.mkdtemp())
    touch(root, "outer/a.jpg", "outer/locked/b.jpg", "outer/locked/c.jpg", "warm/a.jpg")
    root.chmod(0o755)
    (root / "outer").chmod(0o777)
    (root / "outer" / "locked").chmod(0o555)
    yield root
    (root / "outer" / "locked").chmod(0o755)
    shutil.rmtree(root)


def as_nobody(root: Path, folder: Path) -> tuple[object, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(root / "warm"), str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, asked = json.loads(done.stdout)
    return said, asked


def test_nothing_is_computed_for_a_folder_that_takes_no_captions(locked: Path) -> None:
    said, asked = as_nobody(locked, locked / "outer")
    refusal = "no captions can be written to this folder: Permission denied"
    assert said == {"b.jpg": refusal, "c.jpg": refusal}
    assert asked == ["a.jpg"]
    assert (locked / "outer" / "a.txt").exists()


def test_a_run_over_a_folder_that_takes_no_captions_ends_at_once(locked: Path) -> None:
    said, asked = as_nobody(locked, locked / "outer" / "locked")
    assert (
        said == f"{locked / 'outer' / 'locked'}: no captions can be written to this folder: Permission denied"
    )
    assert asked == []


def test_usual_ends_are_not_told() -> None:
    assert Captioned(Path("a"), CaptionStatus.SKIPPED, reason=HAS_CAPTION).is_usual
    assert not Captioned(Path("a"), CaptionStatus.SKIPPED, reason="no face").is_usual


async def test_an_empty_file_in_a_captions_place_is_replaced(tmp_path: Path, scripted) -> None:
    touch(tmp_path, "a.jpg", "a.txt")
    captioning = Captioning(tmp_path, scripted(), lambda captioned: None)
    assert await captioning.count() == 1
    await captioning.run()
    assert (tmp_path / "a.txt").read_text()
