"""A library follows its folders, whatever happens to them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.errors import LibraryBusy, LibraryOutdated, UnknownModel
from sightline.jobs.libraries.indexing import Indexing
from sightline.jobs.libraries.runs import Indexed, IndexOptions, IndexTally
from sightline.libraries import Filter, Library, Shelf
from sightline.runtime.analyzer import Analyzer, Task
from sightline.settings import Settings

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)


class Seen:
    def __init__(self) -> None:
        self.total = 0
        self.reported: list[Indexed] = []

    def begin(self, total: int) -> None:
        self.total = total

    def __call__(self, indexed: Indexed) -> None:
        self.reported.append(indexed)


async def indexed(
    analyzer: Analyzer, library: Library, *roots: Path, tasks=(), spaces=None, **options
) -> IndexTally:
    bound = [analyzer.bind(Task(name, name)) for name in tasks]
    spaces = spaces or [analyzer.settings.library_space]
    return await Indexing(analyzer, library, roots, Seen(), spaces, bound, IndexOptions(**options)).run()


def counts(tally: IndexTally) -> dict[str, int]:
    found = {fate.value: count for fate, count in tally.counts.items()}
    if tally.deleted:
        found["deleted"] = tally.deleted
    return found


def paths(library: Library) -> set[str]:
    return {Path(item.path).name for item in library.items_of(library.ids(Filter()).tolist())}


@pytest.fixture
def library(shelf: Shelf):
    with shelf.open("photos", create=True) as library:
        yield library


@pytest.fixture
def folder(tmp_path: Path, paint) -> Path:
    folder = tmp_path / "pictures"
    paint(folder / "red.jpg", RED, 1)
    paint(folder / "green.png", GREEN, 2)
    paint(folder / "below" / "blue.jpg", BLUE, 3)
    return folder


async def test_new_changed_moved_and_deleted(analyzer, library, folder: Path, paint) -> None:
    assert counts(await indexed(analyzer, library, folder)) == {"added": 3}
    again = await indexed(analyzer, library, folder)
    assert (counts(again), again.unchanged) == ({}, 3)

    ids = {item.path: item.id for item in library.items_of([1, 2, 3])}
    (folder / "red.jpg").rename(folder / "below" / "renamed.jpg")
    (folder / "green.png").unlink()
    paint(folder / "below" / "blue.jpg", RED, 4)
    paint(folder / "new.webp", GREEN, 5)
    changed = await indexed(analyzer, library)
    assert counts(changed) == {"moved": 1, "changed": 1, "added": 1, "deleted": 1}
    assert paths(library) == {"renamed.jpg", "blue.jpg", "new.webp"}
    (moved,) = library.by_sha256(library.item(ids[str(folder / "red.jpg")]).sha256)
    assert moved.id == ids[str(folder / "red.jpg")], "what is known of a moved photo stays"
    (model,) = library.serving()
    assert library.lacking(model) == []


async def test_a_file_that_is_touched_only_is_looked_at_again(analyzer, library, folder: Path) -> None:
    await indexed(analyzer, library, folder)
    os.utime(folder / "red.jpg", (1, 1))
    assert counts(await indexed(analyzer, library)) == {"changed": 1}
    assert len(library) == 3


async def test_files_that_cannot_be_read_stop_nothing(analyzer, library, folder: Path, paint) -> None:
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    whole = (folder / "red.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    tally = await indexed(analyzer, library, folder)
    assert counts(tally) == {"added": 3, "failed": 3}
    assert {Path(path).name for path in library.failures()} == {"zero.jpg", "text.jpg", "cut.jpg"}
    again = await indexed(analyzer, library)
    assert (counts(again), again.known_failures) == ({}, 3)
    assert counts(await indexed(analyzer, library, retry_failed=True)) == {"failed": 3}
    (folder / "cut.jpg").write_bytes(whole + b"\0")
    (folder / "zero.jpg").unlink()
    assert counts(await indexed(analyzer, library)) == {"added": 1}
    assert {Path(path).name for path in library.failures()} == {"text.jpg"}


async def test_a_photo_that_gets_damaged_is_no_longer_found(analyzer, library, folder: Path) -> None:
    await indexed(analyzer, library, folder)
    (folder / "red.jpg").write_bytes(b"damaged")
    assert counts(await indexed(analyzer, library)) == {"failed": 1}
    assert paths(library) == {"green.png", "blue.jpg"}


@pytest.mark.parametrize("is_there", [False, True])
async def test_an_unmounted_folder_empties_nothing(
    analyzer, library, folder: Path, *, is_there: bool
) -> None:
    await indexed(analyzer, library, folder)
    shutil.move(folder, folder.with_name("elsewhere"))
    if is_there:
        await asyncio.to_thread(folder.mkdir)
    tally = await indexed(analyzer, library)
    assert (counts(tally), len(library), len(tally.warnings)) == ({}, 3, 1)
    assert counts(await indexed(analyzer, library, prune=True)) == {"deleted": 3}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
async def test_a_folder_that_cannot_be_listed_keeps_its_photos(analyzer, library, folder: Path) -> None:
    await indexed(analyzer, library, folder)
    (folder / "below").chmod(0)
    try:
        assert counts(await indexed(analyzer, library)) == {}
    finally:
        (folder / "below").chmod(0o755)
    assert len(library) == 3


async def test_names_that_are_not_text(analyzer, library, folder: Path) -> None:
    strange = os.fsencode(folder) + b"/caf\xe9.jpg"
    shutil.copy(os.fsencode(folder / "red.jpg"), strange)
    tally = await indexed(analyzer, library, folder)
    assert counts(tally) == {"added": 3}
    assert len(tally.warnings) == 1


async def test_answers_are_stored_once_and_can_be_asked_for(analyzer, library, folder: Path, paint) -> None:
    await indexed(analyzer, library, folder)
    assert counts(await indexed(analyzer, library, tasks=["brightness"])) == {"completed": 3}
    assert counts(await indexed(analyzer, library, tasks=["brightness"])) == {}
    paint(folder / "white.jpg", (240, 240, 240), 9)
    assert counts(await indexed(analyzer, library, tasks=["brightness"])) == {"added": 1}
    bright = library.items_of(library.ids(Filter(where="name = bright and level > 200")).tolist())
    assert [Path(item.path).name for item in bright] == ["white.jpg"]
    assert library.answers(bright[0].id)["brightness"]["name"] == "bright"
    assert library.with_words("rather bright", 5) == [bright[0].id]


async def test_a_second_space_is_filled_in(analyzer, library, folder: Path) -> None:
    await indexed(analyzer, library, folder)
    assert counts(await indexed(analyzer, library, spaces=["mute"])) == {"completed": 3}
    assert [model.space for model in library.serving()] == ["colours", "mute"]
    (folder / "red.jpg").unlink()
    (folder / "again.jpg").write_bytes((folder / "green.png").read_bytes())
    await indexed(analyzer, library)
    assert all(library.lacking(model) == [] for model in library.serving())


async def test_another_model_is_refused_until_all_is_embedded_anew(
    settings: Settings, library, folder: Path, monkeypatch, paint
) -> None:
    async with Analyzer.create(settings) as analyzer:
        await indexed(analyzer, library, folder)
    (before,) = library.serving()
    monkeypatch.setenv("STAND_IN_TAG", "p2")
    paint(folder / "new.jpg", GREEN, 8)
    async with Analyzer.create(settings) as analyzer:
        with pytest.raises(LibraryOutdated):
            await indexed(analyzer, library)
        assert library.serving() == [before]
        assert counts(await indexed(analyzer, library, reembed=True)) == {"completed": 3, "added": 1}
    (after,) = library.models()
    assert after.fingerprint != before.fingerprint
    assert library.lacking(after) == []


async def test_an_unknown_space_ends_the_run(analyzer, library, folder: Path) -> None:
    with pytest.raises(UnknownModel):
        await indexed(analyzer, library, folder, spaces=["nobody"])


async def test_two_at_once(analyzer, shelf: Shelf, library, folder: Path) -> None:
    with library.writing(), shelf.open("photos") as other, pytest.raises(LibraryBusy):
        await indexed(analyzer, other, folder)


def test_a_killed_run_goes_on_where_it_was(settings: Settings, shelf: Shelf, tmp_path: Path, paint) -> None:
    folder = tmp_path / "many"
    for number in range(400):
        paint(folder / f"{number:03}.jpg", RED, number)
    environment = {
        **os.environ,
        "SIGHTLINE_MODELS_DIR": str(settings.models_dir),
        "SIGHTLINE_LIBRARIES_DIR": str(settings.libraries_dir),
        "SIGHTLINE_LIBRARY_SPACE": "colours",
        "SIGHTLINE_PLUGINS_DIR": str(settings.plugins_dir),
        "SIGHTLINE_OFFLINE": "true",
    }
    command = [sys.executable, "-m", "sightline", "index", str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(300):
        process.stdout.readline()
    deadline = time.monotonic() + 60
    while not len_of(shelf):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len_of(shelf)
    assert 0 < kept <= 400
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    with shelf.open("photos") as library:
        assert len(library) == 400
        (model,) = library.serving()
        assert library.lacking(model) == []
        assert len(library.index(model)) == 400


def len_of(shelf: Shelf) -> int:
    if "photos" not in shelf.names():
        return 0
    with shelf.open("photos") as library:
        return len(library)
