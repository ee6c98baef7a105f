"""One at a time for each name."""

from __future__ import annotations

import asyncio
import gc

import pytest

from sightline.jobs.koop.store.locks import KeyedLock


async def test_equal_names_wait_and_others_do_not() -> None:
    locks, order, free = KeyedLock(), [], asyncio.Event()

    async def work(name: str, tag: str) -> None:
        async with locks.take(name):
            order.append(f"{tag} in")
            if tag == "first":
                await free.wait()
            order.append(f"{tag} out")

    first = asyncio.create_task(work("a", "first"))
    await asyncio.sleep(0)
    second = asyncio.create_task(work("a", "second"))
    await work("b", "other")
    free.set()
    await asyncio.gather(first, second)
    assert order == ["first in", "other in", "other out", "first out", "second in", "second out"]


async def test_names_that_nobody_holds_take_no_memory() -> None:
    locks = KeyedLock()
    for number in range(1000):
        async with locks.take(str(number)):
            pass
    gc.collect()
    assert len(locks._locks) == 0


async def test_an_error_lets_the_next_one_in() -> None:
    locks = KeyedLock()
    with pytest.raises(ZeroDivisionError):
        async with locks.take("a"):
            raise ZeroDivisionError
    async with asyncio.timeout(1), locks.take("a"):
        pass
