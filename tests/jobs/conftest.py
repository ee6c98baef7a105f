"""A describer that can be told what to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.jobs.describing import Description


class Scripted:
    """Says what ``says`` has under a file's name: a text, or an error to raise. Else the name itself.

    ``under_way`` is how many it works on, ``most`` how many it ever did; ``gate`` holds them back.
    """

    def __init__(self, says: dict[str, str | BaseException] | None = None) -> None:
        self.says = says or {}
        self.asked: list[str] = []
        self.under_way = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.meanwhile: Callable[[Path], object] = lambda image: None

    async def describe(self, image: Path) -> Description:
        self.asked.append(image.name)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0.001)  # so that all workers get to begin
            await self.gate.wait()
        finally:
            self.under_way -= 1
        self.meanwhile(image)
        said = self.says.get(image.name, f"this is {image.stem}")
        if isinstance(said, BaseException):
            raise said
        return Description(said)


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted
