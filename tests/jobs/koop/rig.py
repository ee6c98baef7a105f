"""A download against the loopback servers, in this process, on a clock that runs fast."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koopserver import KoopServer

from sightline.imaging.limits import ImageLimits
from sightline.imaging.pdf import PdfLimits, is_pdf
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.polite import Clock, PoliteClient, PolitenessPolicy
from sightline.jobs.koop.run.classifier import Classifier, PageLimits
from sightline.jobs.koop.run.download import Download, Sources
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.progress import DayEnded, Event
from sightline.jobs.koop.store.folder import MANIFEST_NAME, STATE_NAME, occupied
from sightline.jobs.koop.store.rates import learned_rates
from sightline.jobs.koop.store.results import WHOLE, Classification, Fingerprints, PageResult
from sightline.jobs.koop.store.state import Day, State

# Two minutes of policy pass in 60 ms.
USUAL_SPEED = 2000.0
TODAY = dt.date(2026, 6, 1)
LIMITS = ImageLimits(25 * 2**20, 50_000_000, 30_000)


def hastened(speed: float = USUAL_SPEED) -> Clock:
    """Seconds that pass ``speed`` times as fast, for the client and, if told so, the servers."""
    return Clock(
        now_s=lambda: time.monotonic() * speed,
        unix_s=lambda: 1_750_000_000.0 + time.monotonic() * speed,
        sleep=lambda seconds: asyncio.sleep(seconds / speed),
    )


@dataclass
class CountingClassifier:
    """Judges by the digest of the bytes, and remembers which it was shown. Pages of PDFs are not drawn."""

    model: str = "counting"
    wants: Callable[[bytes], bool] = lambda data: not is_pdf(data)
    seen: list[str] = field(default_factory=list)

    @property
    def fingerprints(self) -> Fingerprints:
        return Fingerprints(self.model, self.model)

    async def judge(self, data: bytes, sha256: str) -> Classification:
        self.seen.append(sha256)
        wanted = self.wants(data)
        share = {"maps": 0.9 if wanted else 0.1, "miscellaneous": 0.1 if wanted else 0.9}
        label = max(share, key=lambda each: share[each])
        pages = data.count(b"/Type /Page ") if is_pdf(data) else 0
        numbers = range(1, pages + 1) if pages else (WHOLE,)
        return Classification(
            sha256, self.model, pages, tuple(PageResult(n, label, 0.9, share, wanted) for n in numbers)
        )


@dataclass
class Rig:
    """Runs into one folder. What the state and the manifest hold can be read between them."""

    koop: KoopServer
    out: Path
    judge: Classifier | None = field(default_factory=CountingClassifier)
    clock: Clock = field(default_factory=hastened)
    policy: PolitenessPolicy = field(default_factory=lambda: PolitenessPolicy("https://example.org/tests"))
    pages: PageLimits = field(default_factory=lambda: PageLimits(PdfLimits(), 100.0, 100.0))
    events: list[Event] = field(default_factory=list)
    report: Callable[[Event], object] | None = None
    search: Callable[[PoliteClient], Search] | None = None

    async def run(self, first: dt.date, last: dt.date | None = None, **changes: Any) -> list[DayEnded]:
        """One run; the days that ended in it, unless ``report`` is told of them instead."""
        options = Options(
            first,
            last or first,
            **{
                "attachments_at": self.koop.attachments_folder,
                "reader_at": self.koop.reader_url,
                "today": TODAY,
                **changes,
            },
        )
        before = len(self.events)
        origins = [self.koop.repository_url, self.koop.reader_url, self.koop.attachments_url]
        with occupied(self.out) as blobs, State(self.out / STATE_NAME) as state:
            async with PoliteClient(
                self.policy,
                origins,
                learned=learned_rates(state),
                clock=self.clock,
                rng=random.Random(4),
            ) as client:
                search = self.search or (lambda client: Search(client, self.koop.search_url))
                sources = Sources(client, search(client), self.judge)
                report = self.report or self.events.append
                download = Download(options, state, blobs, sources, report, self.pages, LIMITS)
                await download.run()
        return [each for each in self.events[before:] if isinstance(each, DayEnded)]

    def days(self) -> dict[dt.date, Day]:
        with State(self.out / STATE_NAME, read_only=True) as state:
            return {day.date: day for day in state.days()}

    def states(self) -> list[str]:
        """Of all days, in order."""
        return [day.state.value for day in self.days().values()]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with State(self.out / STATE_NAME, read_only=True) as state:
            return [tuple(row) for row in state.rows(statement)]

    def manifest(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.manifest_bytes().splitlines()]

    def manifest_bytes(self) -> bytes:
        return (self.out / MANIFEST_NAME).read_bytes()

    def blobs(self) -> set[str]:
        """Paths of all files kept."""
        return {str(each.relative_to(self.out)) for each in (self.out / "blobs").rglob("*") if each.is_file()}
