from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import DeadlineExceeded, Overloaded
from sightline.operations import Inference, Timing
from sightline.runtime.text_cache import Readings, TextVectors
from sightline.types import ModelRef, Provenance


def said(model: str = "m", fingerprint: str = "f", size: int = 4, value: float = 1.0) -> Inference[Any]:
    return Inference(np.full(size, value, np.float32), ModelRef(model, fingerprint, Provenance.PULLED))


def test_what_was_said_is_known_by_model_and_text() -> None:
    vectors = TextVectors(10_000)
    inference = said()
    vectors.keep("a map", inference)
    assert vectors.get("m", "a map") is inference
    assert vectors.get("m", "A map") is None
    assert vectors.get("other", "a map") is None


def test_a_vector_that_many_share_cannot_be_written_to() -> None:
    vectors = TextVectors(10_000)
    vectors.keep("a map", said())
    known = vectors.get("m", "a map")
    assert known is not None
    with pytest.raises(ValueError, match="read-only"):
        known.output[0] = 2


def test_new_weights_take_the_place_of_old_ones() -> None:
    vectors = TextVectors(10_000)
    vectors.keep("a map", said(fingerprint="old"))
    before = vectors.num_bytes
    vectors.keep("a map", said(fingerprint="new"))
    known = vectors.get("m", "a map")
    assert known is not None
    assert known.model.fingerprint == "new"
    assert vectors.num_bytes == before


def test_the_least_recently_asked_for_is_forgotten_first() -> None:
    vectors = TextVectors(10_000)
    vectors.keep("a", said())
    each = vectors.num_bytes
    vectors = TextVectors(3 * each)
    for text in "abc":
        vectors.keep(text, said())
    vectors.get("m", "a")
    vectors.keep("d", said())
    assert [text for text in "abcd" if vectors.get("m", text)] == ["a", "c", "d"]


def test_none_is_kept_without_room() -> None:
    vectors = TextVectors(0)
    vectors.keep("a", said())
    assert vectors.get("m", "a") is None
    assert vectors.num_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 400)), max_size=40),
    st.integers(0, 6000),
)
def test_it_never_grows_past_its_bound_and_counts_right(kept: list[tuple[str, int]], max_bytes: int) -> None:
    vectors = TextVectors(max_bytes)
    for text, size in kept:
        vectors.keep(text, said(size=size))
        assert 0 <= vectors.num_bytes <= max_bytes
    left = {text for text, _ in kept if vectors.get("m", text)}
    again = TextVectors(10**9)
    for text, size in kept:  # the last size of a text counts
        if text in left:
            again.keep(text, said(size=size))
    assert again.num_bytes == vectors.num_bytes


# -- readings under way ------------------------------------------------------------------------------------


class Reads:
    """A text model that answers when it is told to. ``ended`` counts readings however they ended."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> Inference[Any]:
        self.begun += 1
        try:
            await self.go_on.wait()
            if self.failure is not None:
                raise self.failure
            return replace(said(), timing=Timing(infer_ms=7.0))
        finally:
            self.ended += 1


def in_a_minute() -> float:
    return time.monotonic() + 60


async def shared(readings: Readings, reads: Reads, text: str = "a map") -> tuple[Inference[Any], float]:
    inference = await readings.share("m", text, reads, in_a_minute())
    assert inference.timing is not None
    return inference, inference.timing.infer_ms


async def test_whoever_comes_meanwhile_waits_for_the_same_reading() -> None:
    readings, reads = Readings(), Reads()
    askers = [asyncio.create_task(shared(readings, reads)) for _ in range(5)]
    other = asyncio.create_task(shared(readings, reads, "another text"))
    await asyncio.sleep(0)
    reads.go_on.set()
    answers = await asyncio.gather(*askers)
    assert all(inference is answers[0][0] for inference, _ in answers)
    assert [infer_ms for _, infer_ms in answers] == [7.0] * 5, "each knows what its answer took to make"
    assert (await other)[0] is not answers[0][0]
    assert reads.begun == 2
    await shared(readings, reads)
    assert reads.begun == 3, "only what is under way is shared"


async def test_one_who_leaves_leaves_it_to_the_others() -> None:
    readings, reads = Readings(), Reads()
    first = asyncio.create_task(shared(readings, reads))
    second = asyncio.create_task(shared(readings, reads))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reads.go_on.set()
    await second
    assert reads.begun == 1


async def test_a_reading_that_nobody_waits_for_ends_and_harms_nobody_after_it() -> None:
    readings, reads = Readings(), Reads()
    only = asyncio.create_task(shared(readings, reads))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    only.cancel()
    await asyncio.sleep(0)  # it leaves, and its reading has still to hear of it
    after = asyncio.create_task(shared(readings, reads))
    await asyncio.gather(only, return_exceptions=True)
    reads.go_on.set()
    await after
    assert (reads.begun, reads.ended) == (2, 2)


async def test_all_who_wait_hear_of_a_failure_and_the_next_one_reads_anew() -> None:
    readings, reads = Readings(), Reads()
    reads.failure = Overloaded("full", 3)
    reads.go_on.set()
    found = await asyncio.gather(*(shared(readings, reads) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [Overloaded] * 3
    reads.failure = None
    await shared(readings, reads)
    assert reads.begun == 2


async def test_time_that_another_had_less_of_is_not_ones_own() -> None:
    readings, hurried, patient = Readings(), Reads(), Reads()
    hurried.failure = DeadlineExceeded("its time ran out")
    first = asyncio.create_task(readings.share("m", "a map", hurried, time.monotonic()))
    second = asyncio.create_task(readings.share("m", "a map", patient, in_a_minute()))
    await asyncio.sleep(0)
    hurried.go_on.set()
    patient.go_on.set()
    with pytest.raises(DeadlineExceeded):
        await first
    assert (await second).model.name == "m"
    assert (hurried.begun, patient.begun) == (1, 1)
