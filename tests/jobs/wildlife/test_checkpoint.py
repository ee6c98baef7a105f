from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.errors import InvalidRequest
from sightline.jobs.describing import RunEnded
from sightline.jobs.wildlife.checkpoint import Checkpoint, checkpoint_beside, checkpoint_path

BEGUN = {"country": "KEN", "models": {"a": "1"}}
ASKED = {"size": 5, "mtime_ns": 7}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "predictions.json"


def begun(out: Path, *photos: str) -> dict[str, int]:
    """A run that ended after these photos; where their answers lie."""
    with checkpoint_beside(out) as checkpoint:
        checkpoint.begin(BEGUN)
        return {photo: checkpoint.add(photo, ASKED, {"filepath": photo, "n": 1.25}) for photo in photos}


def found(checkpoint: Checkpoint, *photos: str) -> list[dict[str, object]]:
    positions = [checkpoint.recall(photo, ASKED) for photo in photos]
    assert all(position is not None for position in positions)
    return list(checkpoint.entries(position for position in positions if position is not None))


def test_a_run_goes_on_from_what_another_found(out: Path) -> None:
    begun(out, "a.jpg", "b/c.jpg")
    with checkpoint_beside(out) as checkpoint:
        assert checkpoint.resume() == BEGUN
        assert "a.jpg" in checkpoint
        assert "d.jpg" not in checkpoint
        assert checkpoint.recall("d.jpg", ASKED) is None
        assert found(checkpoint, "b/c.jpg", "a.jpg") == [
            {"filepath": "b/c.jpg", "n": 1.25}, {"filepath": "a.jpg", "n": 1.25},
        ]  # fmt: skip
        position = checkpoint.add("d.jpg", ASKED, {"filepath": "d.jpg"})
        assert list(checkpoint.entries([position])) == [{"filepath": "d.jpg"}]
    with checkpoint_beside(out) as checkpoint:
        checkpoint.resume()
        assert len(found(checkpoint, "a.jpg", "b/c.jpg", "d.jpg")) == 3


def test_a_photo_that_is_asked_something_else_is_not_known(out: Path) -> None:
    begun(out, "a.jpg")
    with checkpoint_beside(out) as checkpoint:
        checkpoint.resume()
        assert checkpoint.recall("a.jpg", ASKED | {"mtime_ns": 8}) is None
        assert checkpoint.recall("a.jpg", ASKED | {"country": "KEN"}) is None
        assert checkpoint.recall("a.jpg", {"mtime_ns": 7, "size": 5}) is not None


def test_the_last_answer_counts_and_failures_are_forgotten(out: Path) -> None:
    begun(out, "a.jpg", "b.jpg")
    with checkpoint_beside(out) as checkpoint:
        checkpoint.resume()
        checkpoint.add("a.jpg", ASKED, {"n": 2})
        checkpoint.add("b.jpg", ASKED, {"failures": ["DETECTOR"]})
    with checkpoint_beside(out) as checkpoint:
        checkpoint.resume()
        assert found(checkpoint, "a.jpg") == [{"n": 2}]
        assert "b.jpg" not in checkpoint


def test_nothing_there_is_nothing_begun_and_leaves_nothing(out: Path) -> None:
    with checkpoint_beside(out) as checkpoint:
        assert checkpoint.resume() is None
    assert not checkpoint_path(out).exists()


def test_beginning_again_forgets_everything(out: Path) -> None:
    begun(out, "a.jpg", "b.jpg")
    with checkpoint_beside(out) as checkpoint:
        checkpoint.resume()
        checkpoint.begin({"country": "TZA"})
        assert "a.jpg" not in checkpoint
    assert len(checkpoint_path(out).read_bytes().splitlines()) == 1


def test_torn_anywhere_it_loses_one_photo_at_most(out: Path) -> None:
    """Every possible end of a killed process's file, byte by byte."""
    positions = begun(out, "a.jpg", "ö.jpg")
    whole = checkpoint_path(out).read_bytes()
    ends = {name: position + whole[position:].index(b"\n") + 1 for name, position in positions.items()}
    for length in range(len(whole) + 1):
        checkpoint_path(out).write_bytes(whole[:length])
        with checkpoint_beside(out) as checkpoint:
            if checkpoint.resume() is None:
                assert length < positions["a.jpg"]
                continue
            known = [name for name in ends if name in checkpoint]
            assert known == [name for name, end in ends.items() if end <= length]
            checkpoint.add("z.jpg", ASKED, {"n": 3})
        with checkpoint_beside(out) as checkpoint:
            checkpoint.resume()
            assert len(found(checkpoint, *known, "z.jpg")) == len(known) + 1
        for line in checkpoint_path(out).read_bytes().splitlines(keepends=True):
            assert line.endswith(b"\n")
            json.loads(line)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(damage=st.binary(min_size=1, max_size=30), share=st.floats(0, 1))
def test_damage_in_the_middle_costs_no_more_than_it_covers(out: Path, damage: bytes, share: float) -> None:
    """What a disk without power leaves: zeros, other bytes. The photos around are still known."""
    positions = begun(out, "a.jpg", "b.jpg", "c.jpg")
    data = bytearray(checkpoint_path(out).read_bytes())
    room = positions["c.jpg"] - positions["b.jpg"] - 1 - len(damage)
    at = positions["b.jpg"] + int(share * room)
    data[at : at + len(damage)] = damage
    checkpoint_path(out).write_bytes(data)
    with checkpoint_beside(out) as checkpoint:
        assert checkpoint.resume() == BEGUN
        assert len(found(checkpoint, "a.jpg", "c.jpg")) == 2


@pytest.mark.parametrize(
    "content", ["mine\n", "mine", '{"kind": "other"}\n', '["a"]\n', '{"a": 1}\n{"b": 2}\n']
)
def test_a_file_of_somebody_else_is_refused_and_kept(out: Path, content: str) -> None:
    checkpoint_path(out).write_text(content)
    with checkpoint_beside(out) as checkpoint, pytest.raises(InvalidRequest, match="--force"):
        checkpoint.resume()
    assert checkpoint_path(out).read_text() == content


def test_two_runs_do_not_share_it(out: Path) -> None:
    with checkpoint_beside(out):
        said: list[str] = []

        def second() -> None:
            with pytest.raises(InvalidRequest, match="another run") as raised, checkpoint_beside(out):
                pass
            said.append(str(raised.value))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert said == [f"another run is writing {out}; wait for its end or name another --out"]
    begun(out, "a.jpg")


class FullDisk:
    """A disk with room for so many bytes more."""

    def __init__(self, file, room: int) -> None:
        self._file = file
        self.room = room

    def write(self, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: self.room])
        self.room -= written
        return int(written)

    def __getattr__(self, name: str):
        return getattr(self._file, name)


@pytest.fixture
def full(out: Path) -> Iterator[tuple[Checkpoint, FullDisk]]:
    path = checkpoint_path(out)
    path.touch()
    with path.open("r+b", buffering=0) as file:
        disk = FullDisk(file, 10_000)
        checkpoint = Checkpoint(path, disk)
        checkpoint.begin(BEGUN)
        yield checkpoint, disk


def test_a_full_disk_ends_the_run_and_costs_nothing_that_was_kept(
    out: Path, full: tuple[Checkpoint, FullDisk]
) -> None:
    checkpoint, disk = full
    checkpoint.add("a.jpg", ASKED, {"n": 1})
    disk.room = 20
    with pytest.raises(RunEnded, match="cannot be written: No space left on device"):
        checkpoint.add("b.jpg", ASKED, {"n": 2})
    disk.room = 10_000  # another worker of the same run, before it ends
    checkpoint.add("c.jpg", ASKED, {"n": 3})
    with checkpoint_beside(out) as again:
        again.resume()
        assert found(again, "a.jpg", "c.jpg") == [{"n": 1}, {"n": 3}]
        assert "b.jpg" not in again
