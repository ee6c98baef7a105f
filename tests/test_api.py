"""``from sightline import Analyzer``, in this process, with made-up weights."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

import sightline
from sightline import Analyzer, AsyncAnalyzer, Status, Task
from sightline.errors import (
    ConfigurationError,
    InvalidImage,
    InvalidParameters,
    TargetNotFound,
    UnknownOperation,
    UrlRefused,
)


@pytest.fixture
def analyzer(tmp_path: Path) -> Iterator[Analyzer]:
    with Analyzer(rehearse=True, models_dir=tmp_path, threads=1) as opened:
        yield opened


def test_images_are_paths_or_bytes(analyzer: Analyzer, portrait: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(portrait)
    images = (portrait, tmp_path / "photo.jpg", str(tmp_path / "photo.jpg"))
    found = [analyzer.analyze(image, "detect_faces")[0] for image in images]
    assert [each.status for each in found] == [Status.OK] * 3
    assert found[0].result() == found[1].result() == found[2].result()


def test_outcomes_come_in_the_order_of_the_tasks(analyzer: Analyzer, portrait: bytes) -> None:
    tasks = Task("all", "detect_faces"), Task("none", "detect_faces", {"min_score": 1.0})
    everything, nothing = analyzer.analyze(portrait, *tasks)
    assert (everything.id, nothing.id) == ("all", "none")
    assert nothing.result().faces == []
    assert nothing.words() == "no face"


def test_a_failed_task_raises_when_it_is_read(analyzer: Analyzer, cup: bytes) -> None:
    task = Task("face", "detect_bounding_box", {"target": "prominent_face"})
    face, vector = analyzer.analyze(cup, task, "embed_clip")
    if face.status is Status.SKIPPED:
        assert face.words() is None
        with pytest.raises(TargetNotFound):
            face.result()
    assert vector.result().dimensions > 0


def test_a_text_needs_no_image(analyzer: Analyzer) -> None:
    (vector,) = analyzer.analyze(None, Task("text", "embed_text", {"text": "a dog"}))
    assert vector.result().dimensions > 0


def test_wrong_tasks_and_images_are_refused(analyzer: Analyzer, portrait: bytes) -> None:
    with pytest.raises(UnknownOperation):
        analyzer.analyze(portrait, "detect_cases")
    with pytest.raises(InvalidParameters):
        analyzer.analyze(portrait, Task("faces", "detect_faces", {"min_scor": 1}))
    with pytest.raises(InvalidImage):
        analyzer.analyze(portrait[:100], "detect_faces")
    with pytest.raises(UrlRefused):
        analyzer.analyze("http://127.0.0.1/photo.jpg", "detect_faces")
    with pytest.raises(FileNotFoundError):
        analyzer.analyze("nowhere.jpg", "detect_faces")


def test_threads_share_an_analyzer(analyzer: Analyzer, portrait: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: analyzer.analyze(portrait, "detect_faces")[0], range(8)))
    assert all(each.result() == found[0].result() for each in found)


def test_it_works_beside_a_running_event_loop(analyzer: Analyzer, portrait: bytes) -> None:
    """As in a notebook."""

    async def cell() -> Status:
        return analyzer.analyze(portrait, "detect_faces")[0].status

    assert asyncio.run(cell()) is Status.OK


def test_it_is_closed_at_the_end(tmp_path: Path, portrait: bytes) -> None:
    with Analyzer(rehearse=True, models_dir=tmp_path) as opened:
        pass
    with pytest.raises(RuntimeError):
        opened.analyze(portrait, "detect_faces")
    assert "analyzer" not in {thread.name for thread in threading.enumerate()}


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ofline"):
        Analyzer(ofline=True)
    with pytest.raises(ValidationError):
        Analyzer(threads="many")


async def test_a_program_with_an_event_loop_awaits(tmp_path: Path, portrait: bytes) -> None:
    async with AsyncAnalyzer(rehearse=True, models_dir=tmp_path) as opened:
        one, other = await asyncio.gather(*(opened.analyze(portrait, "detect_faces") for _ in range(2)))
    assert one[0].result() == other[0].result()


def test_the_package_lists_its_names() -> None:
    assert {"Analyzer", "AsyncAnalyzer", "Outcome", "Status", "Task"} <= set(dir(sightline))
    with pytest.raises(AttributeError):
        sightline.Analyser  # noqa: B018
