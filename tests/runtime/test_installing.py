"""The progress of an installation, on a clock of its own."""

from __future__ import annotations

import pytest

from sightline.runtime.installing import Installing
from sightline.weights.sources import Artifact, Built, HubFile
from sightline.weights.wanted import Wanted

MB = 1_000_000


class Clock:
    """A clock that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _installing(clock: Clock, *sizes: int | None) -> Installing:
    files = tuple(
        Artifact(f"file-{number}", (HubFile("org/repo", f"file-{number}"),), size_bytes=size)
        for number, size in enumerate(sizes)
    )
    graph = Artifact("graph.onnx", (Built(("file-0",), lambda inputs, output, report: None),))
    return Installing(Wanted("some-model", (*files, graph), "MIT", "https://example.org", "p"), clock)


def test_bytes_of_all_files_are_added_up_and_steps_of_building_are_not(clock: Clock) -> None:
    installing = _installing(clock, 10 * MB, 5 * MB)
    installing("file-0", 10 * MB, 10 * MB)
    installing("file-1", 1 * MB, 5 * MB)
    installing("graph.onnx", 3, 4)
    progress = installing.progress()
    assert progress.step == "graph.onnx"
    assert progress.done_bytes == 11 * MB
    assert progress.total_bytes == 15 * MB


def test_the_rate_is_that_of_the_last_seconds(clock: Clock) -> None:
    installing = _installing(clock, 1000 * MB)
    for second in range(60):
        clock.now_s = 100.0 + second
        installing("file-0", (second if second < 30 else 30 + 10 * (second - 30)) * MB, None)
    assert installing.progress().bytes_per_s == pytest.approx(10 * MB, rel=0.05)


def test_what_an_earlier_attempt_brought_is_not_speed(clock: Clock) -> None:
    installing = _installing(clock, 100 * MB)
    installing("file-0", 90 * MB, 100 * MB)
    clock.now_s += 2
    installing("file-0", 92 * MB, 100 * MB)
    progress = installing.progress()
    assert progress.bytes_per_s == pytest.approx(1 * MB)
    # 8 MB at 1 MB/s, and the time that conversion takes.
    assert progress.retry_after_s == 18


def test_a_stalled_download_is_worth_a_late_retry_and_a_fast_one_an_early_one(clock: Clock) -> None:
    stalled = _installing(clock, 100 * MB)
    stalled("file-0", 0, 100 * MB)
    clock.now_s += 60
    assert stalled.progress().retry_after_s == 600
    fast = _installing(clock, 100 * MB)
    fast("file-0", 0, 100 * MB)
    clock.now_s += 1
    fast("file-0", 99 * MB, 100 * MB)
    assert 5 <= fast.progress().retry_after_s <= 12


def test_an_unknown_size_is_worth_a_retry_soon(clock: Clock) -> None:
    installing = _installing(clock, 100 * MB, None)
    installing("file-0", 1, None)
    progress = installing.progress()
    assert progress.total_bytes is None
    assert progress.retry_after_s == 5


def test_the_words_name_the_step_once_everything_has_arrived(clock: Clock) -> None:
    installing = _installing(clock, 10 * MB)
    installing("file-0", 4 * MB, 10 * MB)
    clock.now_s += 1
    installing("file-0", 5 * MB, 10 * MB)
    assert installing.progress().words == "5 MB of 10 MB at 1.0 MB/s"
    installing("file-0", 10 * MB, 10 * MB)
    installing("graph.onnx", 0, 1)
    assert "graph.onnx" in installing.progress().words


def test_a_file_that_is_taken_out_of_an_archive_takes_nothing_back(clock: Clock) -> None:
    installing = _installing(clock, None)
    installing("file-0", 0, 10 * MB)
    installing("file-0", 10 * MB, 10 * MB)
    installing("file-0", 0, 7 * MB)
    assert installing.progress().done_bytes == 10 * MB
