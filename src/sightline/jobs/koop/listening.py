"""Telling of hosts that owe an answer, while a run waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sightline.fetching.polite import PoliteClient, Silence
from sightline.jobs.koop.progress import Answered, Report, Silent

# Usual answers of the archive come within seconds.
SILENT_AFTER_S = 15.0
_LOOK_EVERY_S = 5.0


@asynccontextmanager
async def telling_of_silences(client: PoliteClient, report: Report) -> AsyncIterator[None]:
    """Report, during the block, each host that has been silent for :data:`SILENT_AFTER_S`, every few seconds
    by the client's clock; and once that it answers again.
    """
    task = asyncio.create_task(_tell(client, report))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _tell(client: PoliteClient, report: Report) -> None:
    known: dict[str, Silence] = {}
    while True:
        await client.clock.sleep(_LOOK_EVERY_S)
        silent = {each.origin: each for each in client.silences() if each.for_s >= SILENT_AFTER_S}
        for origin in [each for each in known if each not in silent and client.answers(each)]:
            report(Answered(origin, known[origin].for_s))
        for each in silent.values():
            report(Silent(each))
        # One that nobody wants anything of just now is neither: it stays known until it answers.
        known = {origin: each for origin, each in known.items() if not client.answers(origin)} | silent
