"""Decoded pixels are counted by what headers say, before anything is decoded, in one budget."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.errors import DeadlineExceeded, Overloaded
from sightline.imaging import ImageLimits, Picture, View, encode_png, open_picture
from sightline.runtime.analyzer import Status, Task
from sightline.runtime.engine import Context

WAIT_S = 10.0
KIB = 1024


class Decoding:
    """An embedder whose decoding waits while ``gate`` is closed; counts what is decoded at once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.counts: Counter[str] = Counter()
        self.most = 0
        self._lock = threading.Lock()

    def prepare(self, view: View) -> Any:
        with self._lock:
            self.begun += 1
            self.counts["now"] += 1
            self.most = max(self.most, self.counts["now"])
        assert self.gate.wait(WAIT_S)
        mean = view.pixels().mean((0, 1), dtype=np.float32)
        with self._lock:
            self.counts["now"] -= 1
        return mean

    def infer(self, items: Any) -> Any:
        return items


@pytest.fixture
def decoding() -> Iterator[Decoding]:
    model = Decoding()
    yield model
    model.gate.set()


def picture(side: int = 256) -> Picture:
    """A picture of one grey: few bytes, ``4 * side²`` in the budget."""
    return open_picture(encode_png(np.full((side, side, 3), 7, np.uint8)), ImageLimits(10**6, 10**8, 10**5))


def soon(timeout_s: float = WAIT_S) -> Context:
    return Context.lasting(timeout_s)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)


@pytest.fixture
async def analyzer(start: Any, define: Any, decoding: Decoding) -> Any:
    """A budget of one megabyte: four of the pictures above, two of one request."""
    return start(
        define("decoding", decoding, IMAGE_EMBEDDING, space="clip-vit-b-32"),
        decoded_mib=1, worker_threads=16,
    )  # fmt: skip


def asked(analyzer: Any, context: Context, pictures: list[Picture]) -> list[asyncio.Task[Any]]:
    task = analyzer.bind(Task("vector", "embed_clip", {}))
    return [asyncio.create_task(analyzer.analyze(each, [task], context)) for each in pictures]


async def test_sixteen_pictures_of_a_request_take_half_of_the_budget(
    analyzer: Any, decoding: Decoding
) -> None:
    decoding.gate.clear()
    tasks = asked(analyzer, soon(), [picture() for _ in range(16)])
    await until(lambda: decoding.begun == 2)
    assert analyzer.engine.pixels.num_bytes == 512 * KIB
    assert analyzer.engine.pixels.waiting == 14
    (other,) = asked(analyzer, soon(), [picture()])
    await until(lambda: decoding.begun == 3)
    decoding.gate.set()
    for outcomes in await asyncio.gather(*tasks, other):
        assert [outcome.status for outcome in outcomes] == [Status.OK]
    assert decoding.most <= 4
    await until(lambda: analyzer.engine.pixels.num_bytes == 0)


async def test_requests_share_the_budget(analyzer: Any, decoding: Decoding) -> None:
    tasks = [task for _ in range(40) for task in asked(analyzer, soon(), [picture()])]
    for outcomes in await asyncio.gather(*tasks):
        assert [outcome.status for outcome in outcomes] == [Status.OK]
    assert decoding.most <= 4
    await until(lambda: analyzer.engine.pixels.num_bytes == 0)


async def test_who_holds_least_goes_first(analyzer: Any, decoding: Decoding) -> None:
    decoding.gate.clear()
    first = asked(analyzer, soon(), [picture() for _ in range(8)])
    second = asked(analyzer, soon(), [picture() for _ in range(8)])
    await until(lambda: decoding.begun == 4)
    (small,) = asked(analyzer, soon(), [picture(16)])
    await asyncio.sleep(0.05)
    assert not small.done(), "the budget is full"
    decoding.gate.set()
    await small
    assert not all(task.done() for task in (*first, *second))
    await asyncio.gather(*first, *second)


async def test_what_is_larger_than_the_budget_is_let_in_alone(analyzer: Any, decoding: Decoding) -> None:
    tasks = asked(analyzer, soon(), [picture(1024), picture(1024), picture()])
    for outcomes in await asyncio.gather(*tasks):
        assert [outcome.status for outcome in outcomes] == [Status.OK]
    assert decoding.most == 1


async def test_one_picture_counts_once_however_many_look_at_it(analyzer: Any, decoding: Decoding) -> None:
    decoding.gate.clear()
    shared, context = picture(), soon()
    engine = analyzer.engine
    tasks = [
        asyncio.create_task(engine.infer("decoding", View(shared), context)),
        asyncio.create_task(engine.infer("decoding", View(shared, None), context)),
    ]
    await until(lambda: decoding.begun == 2)
    assert engine.pixels.num_bytes == 256 * KIB
    decoding.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_an_abandoned_decode_counts_until_its_thread_has_ended_and_queued_ones_never_begin(
    start: Any, define: Any, decoding: Decoding, how: str
) -> None:
    analyzer = start(
        define("decoding", decoding, IMAGE_EMBEDDING, space="clip-vit-b-32"),
        decoded_mib=64, worker_threads=1,
    )  # fmt: skip
    await analyzer.engine.infer("decoding", View(warm := picture(1)), soon())
    analyzer.engine.pixels.leave(warm)
    decoding.gate.clear()
    tasks = asked(analyzer, soon(WAIT_S if how == "cancelled" else 0.3), [picture() for _ in range(8)])
    await until(lambda: decoding.begun == 2)
    await asyncio.sleep(0.05)
    if how == "cancelled":
        for task in tasks:
            task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    if how == "timeout":
        assert all(isinstance(end[0].error, DeadlineExceeded) for end in ends)
    await until(lambda: analyzer.engine.pixels.num_bytes == 256 * KIB)
    decoding.gate.set()
    await until(lambda: analyzer.engine.pixels.num_bytes == 0)
    (last,) = await asyncio.gather(*asked(analyzer, soon(), [picture()]))
    assert last[0].status is Status.OK
    assert decoding.begun == 3, "the first, the abandoned one and the last"


async def test_a_request_leaves_threads_to_others(start: Any, define: Any, decoding: Decoding) -> None:
    analyzer = start(
        define("decoding", decoding, IMAGE_EMBEDDING, space="clip-vit-b-32"),
        decoded_mib=64, worker_threads=4,
    )  # fmt: skip
    decoding.gate.clear()
    many = asked(analyzer, soon(), [picture() for _ in range(16)])
    await until(lambda: decoding.begun == 2)
    (other,) = asked(analyzer, soon(), [picture()])
    await until(lambda: decoding.begun == 3)
    decoding.gate.set()
    await other
    await asyncio.gather(*many)
    assert decoding.begun == 17


async def test_who_waits_for_room_can_leave(analyzer: Any, decoding: Decoding) -> None:
    decoding.gate.clear()
    tasks = [task for _ in range(4) for task in asked(analyzer, soon(), [picture()])]
    await until(lambda: decoding.begun == 4)
    (late,) = asked(analyzer, soon(0.1), [picture()])
    (outcome,) = await late
    assert isinstance(outcome.error, DeadlineExceeded)
    (cancelled,) = asked(analyzer, soon(), [picture()])
    await until(lambda: analyzer.engine.pixels.waiting == 1)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert analyzer.engine.pixels.waiting == 0
    decoding.gate.set()
    await asyncio.gather(*tasks)
    await until(lambda: analyzer.engine.pixels.num_bytes == 0)


async def test_too_many_that_wait_are_refused(start: Any, define: Any, decoding: Decoding) -> None:
    engine = start(define("decoding", decoding), decoded_mib=1, queue_items=4, worker_threads=8).engine
    await engine.infer("decoding", View(warm := picture(1)), soon())
    engine.pixels.leave(warm)
    decoding.gate.clear()
    pictures = [picture() for _ in range(9)]
    tasks = [asyncio.create_task(engine.infer("decoding", View(each), soon())) for each in pictures]
    ends = await asyncio.wait(tasks, timeout=0.5)
    (refused,) = ends[0]
    assert isinstance(refused.exception(), Overloaded)
    decoding.gate.set()
    for each in pictures:
        engine.pixels.leave(each)
    await asyncio.wait(tasks, timeout=WAIT_S)


async def test_a_picture_that_nobody_leaves_counts_until_it_is_freed(
    analyzer: Any, decoding: Decoding
) -> None:
    engine = analyzer.engine
    own = picture()
    await engine.infer("decoding", View(own), soon())
    assert engine.pixels.num_bytes == 256 * KIB
    del own
    gc.collect()
    await until(lambda: engine.pixels.num_bytes == 0)


async def test_a_damaged_picture_counts_no_longer_than_its_request(analyzer: Any) -> None:
    data = encode_png(np.full((256, 256, 3), 7, np.uint8))
    damaged = [open_picture(data[:-40], ImageLimits(10**6, 10**8, 10**5)) for _ in range(20)]
    for outcomes in await asyncio.gather(*asked(analyzer, soon(), damaged)):
        assert outcomes[0].error is not None
        assert outcomes[0].error.code == "invalid_image"
    await until(lambda: analyzer.engine.pixels.num_bytes == 0)
