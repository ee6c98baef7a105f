"""The registry of a server's trainings, without HTTP."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.collections import Collection, Collections
from sightline.errors import CollectionBusy, ExtraMissing, Overloaded, UnknownCollection
from sightline.imaging import Picture
from sightline.jobs.collections import trainings as trainings_module
from sightline.jobs.collections.embedding import Supplied
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.trainings import Job, JobState, Trainings
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings


@pytest.fixture
async def analyzer(settings: Settings) -> AsyncIterator[Analyzer]:
    async with Analyzer.create(settings) as found:
        yield found


@pytest.fixture
async def trainings(analyzer: Analyzer, collections: Collections) -> AsyncIterator[Trainings]:
    async with Trainings(analyzer, collections, max_jobs=3) as found:
        yield found


def noise(bright: bool, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 100, (32, 32, 3)) + 150 * bright
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def supplied(analyzer: Analyzer, gate: asyncio.Event | None = None, count: int = 20) -> list[Supplied]:
    """Bright ones inside, dark ones outside; ``gate`` holds the first one back."""

    def one(number: int) -> Supplied:
        async def read() -> Picture:
            if gate is not None and number == 0:
                await gate.wait()
            return analyzer.open(noise(number % 2 == 0, number))

        return Supplied(f"{number}.png", number % 2 == 0, read)

    return [one(number) for number in range(count)]


async def until_ended(*jobs: Job) -> None:
    async with asyncio.timeout(30):
        while not all(job.ended for job in jobs):  # noqa: ASYNC110 - jobs have no event for it
            await asyncio.sleep(0.01)


async def test_a_training_goes_through_its_steps(trainings, analyzer, collections) -> None:
    await trainings.admit("bright")
    gate = asyncio.Event()
    job = trainings.start("bright", Plan(), supplied(analyzer, gate))
    assert (job.state, job.total, job.report()["ended_at"]) == (JobState.WAITING, 20, None)
    async with asyncio.timeout(30):
        while job.done < 19:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (job.state, job.step, job.total) == (JobState.RUNNING, "embedding", 20)
    gate.set()
    await until_ended(job)
    assert (job.state, job.error) == (JobState.DONE, None)
    assert job.result["serving"] == collections.collection("bright").index().serving
    assert len(job.result["images"]["in"]) == len(job.result["images"]["out"]) == 10
    assert trainings.find("bright", job.id) is job
    assert trainings.find("other", job.id) is None
    assert trainings.find("bright", "x") is None


async def test_one_at_a_time_and_one_per_collection(trainings, analyzer) -> None:
    gate = asyncio.Event()
    one = trainings.start("one", Plan(), supplied(analyzer, gate))
    two = trainings.start("two", Plan(), supplied(analyzer))
    with pytest.raises(CollectionBusy, match=one.id):
        trainings.start("one", Plan(), [])
    with pytest.raises(CollectionBusy):
        await trainings.admit("two")
    three = trainings.start("three", Plan(), supplied(analyzer))
    with pytest.raises(Overloaded) as refused:
        await trainings.admit("four")
    assert refused.value.retry_after_s > 0
    async with asyncio.timeout(30):
        while one.done < 19:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (two.state, three.state) == (JobState.WAITING, JobState.WAITING)
    gate.set()
    await until_ended(one, two, three)
    assert {one.state, two.state, three.state} == {JobState.DONE}
    await trainings.admit("one")


async def test_leaving_cancels_and_what_served_stays(analyzer, collections: Collections) -> None:
    gate = asyncio.Event()
    async with Trainings(analyzer, collections, max_jobs=3) as trainings:
        first = trainings.start("bright", Plan(), supplied(analyzer))
        await until_ended(first)
        running = trainings.start("bright", Plan(), supplied(analyzer, gate))
        waiting = trainings.start("other", Plan(), supplied(analyzer))
        await asyncio.sleep(0)
    assert (running.state, waiting.state) == (JobState.CANCELLED, JobState.CANCELLED)
    collection = collections.collection("bright")
    assert collection.versions() == [collection.index().serving] == [first.result["serving"]]
    with pytest.raises(Overloaded, match="shut down"):
        await trainings.admit("bright")


async def test_a_training_on_its_thread_promotes_nothing_after_leaving(
    analyzer, collections: Collections, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = collections.collection("bright")
    before: list[str] = []
    fitting, left = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    real = trainings_module.train

    def slow(collection: Collection, examples: Any, *, report: Any) -> Any:
        def step(what: str) -> None:
            if what.startswith("measuring"):
                loop.call_soon_threadsafe(fitting.set)
                asyncio.run_coroutine_threadsafe(left.wait(), loop).result(20)
            report(what)

        try:
            return real(collection, examples, report=step)
        finally:
            loop.call_soon_threadsafe(ended.set)

    ended = asyncio.Event()
    async with Trainings(analyzer, collections, max_jobs=3) as trainings:
        await until_ended(trainings.start("bright", Plan(), supplied(analyzer)))
        before = collection.versions()
        monkeypatch.setattr(trainings_module, "train", slow)
        job = trainings.start("bright", Plan(), supplied(analyzer))
        await fitting.wait()
    left.set()
    await ended.wait()
    assert job.state is JobState.CANCELLED
    assert collection.versions() == before
    with collection.changing():
        assert collection.index().serving == before[0]


async def test_failures_are_told_and_keep_nothing(trainings, analyzer) -> None:
    job = trainings.start("bright", Plan(), supplied(analyzer, count=4))
    await until_ended(job)
    assert job.state is JobState.FAILED
    assert job.error["code"] == "invalid_examples"
    assert "too few" in job.error["message"]
    broken = trainings.start("bright", Plan(("nothing",)), supplied(analyzer))
    await until_ended(broken)
    assert broken.error["code"] == "unknown_model"


async def test_ended_ones_are_forgotten_in_the_end(trainings, analyzer, monkeypatch) -> None:
    monkeypatch.setattr(trainings_module, "MOST_ENDED", 2)
    jobs = []
    for _ in range(4):
        jobs.append(trainings.start("bright", Plan(), supplied(analyzer, count=2)))
        await until_ended(jobs[-1])
    assert trainings.find("bright", jobs[0].id) is None
    assert [job.id for job in trainings.of("bright")] == [job.id for job in reversed(jobs[1:])]


async def test_what_cannot_begin_is_said_before_a_body_is_read(trainings, collections, monkeypatch) -> None:
    with pytest.raises(UnknownCollection):
        await trainings.admit("../x")
    with collections.collection("bright").changing(), pytest.raises(CollectionBusy):
        await trainings.admit("bright")
    monkeypatch.setitem(__import__("sys").modules, "sklearn.linear_model", None)
    with pytest.raises(ExtraMissing):
        await trainings.admit("bright")
