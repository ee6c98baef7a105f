"""Fetching and classifying at once, against each alone, from a slow stand-in for the archive on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import photos, random_models
from sightline.imaging import ImageLimits
from sightline.imaging.pdf import PdfLimits
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.polite import PoliteClient, PolitenessPolicy
from sightline.jobs.koop.run.classifier import Classifier, PageLimits, ZeroShotClassifier
from sightline.jobs.koop.run.download import Download, Sources
from sightline.jobs.koop.run.options import Keep, Options
from sightline.jobs.koop.store.folder import STATE_NAME, occupied
from sightline.jobs.koop.store.state import State
from sightline.jobs.looking import for_many
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings

# The tests' servers: the bench has no others.
sys.path.append(str(Path(__file__).parent.parent / "tests" / "jobs" / "koop"))

MODELS = ("clip-vit-b-32", "clip-vit-b-32-text")
FIRST, DAYS, PER_DAY, ROUNDS = dt.date(2024, 6, 3), 4, 60, 2
SIZE = (640, 480)
PHOTOS = 24
# Four requests under way, two per picture: about as many pictures per second as two cores classify.
ANSWER_AFTER_S = 0.03
# No archive would bear this; what is measured is the pipeline, not its policy.
MANNERS = PolitenessPolicy("https://example.org/bench", rate_per_s=1e6, ceiling_per_s=1e6, burst=1e6)
PAGES = PageLimits(PdfLimits(), 100.0, 300.0)


def run() -> dict[str, Any]:
    """Each in turn, twice over: the machine may slow down as it warms up."""
    random_models.install(MODELS)
    return asyncio.run(_measured())


async def _measured() -> dict[str, Any]:
    from koopserver import KoopServer, faults

    settings = for_many(
        Settings(models_dir=random_models.FOLDER, offline=True, allow_random_weights=True, auto_pull=False),
        DAYS * PER_DAY,
    )
    seconds: dict[str, float] = dict.fromkeys(("fetching", "classifying", "both"), 0.0)
    with KoopServer(decisions_per_day=PER_DAY) as koop:
        koop.alter("gmb", _with_a_photo(photos.jpegs(*SIZE, count=PHOTOS)))
        koop.fail(r"\.(xml|jpg)$", faults.slow_first_byte(ANSWER_AFTER_S), times=math.inf)
        async with Analyzer.create(settings) as analyzer:
            judge = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", PAGES)
            for _ in range(ROUNDS):
                with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
                    # What was fetched without a judge is classified by the second run, which fetches nothing.
                    seconds["fetching"] += await _run_s(koop, Path(one), None)
                    seconds["classifying"] += await _run_s(koop, Path(one), judge)
                    seconds["both"] += await _run_s(koop, Path(two), judge)
    pictures = ROUNDS * DAYS * PER_DAY
    longer = max(seconds["fetching"], seconds["classifying"])
    return {
        "pictures_per_s": {name: pictures / each for name, each in seconds.items()},
        "ratios": {"time of both over the longer of the two": seconds["both"] / longer},
    }


def _with_a_photo(of: list[bytes]) -> Any:
    """An alteration: one photo in each decision, of which no two have the same bytes."""
    from koopserver import Illustration

    def alteration(decision: Any) -> Any:
        # What follows the end of a JPEG changes its digest and no pixel.
        data = of[int(decision.number) % len(of)] + decision.identifier.encode()
        photo = Illustration(f"{decision.identifier}-1.jpg", lambda: data)
        return replace(decision, illustrations=(photo,), attachments=())

    return alteration


async def _run_s(koop: Any, folder: Path, judge: Classifier | None) -> float:
    """Seconds that a download took, start and end included."""
    options = Options(
        FIRST,
        FIRST + dt.timedelta(days=DAYS - 1),
        keep=Keep.ALL,
        reader_at=koop.reader_url,
        attachments_at=koop.attachments_folder,
        today=dt.date(2026, 1, 1),
    )
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        blobs = stack.enter_context(occupied(folder))
        state = stack.enter_context(State(folder / STATE_NAME))
        origins = [koop.search_url, koop.reader_url, koop.attachments_folder]
        async with PoliteClient(MANNERS, origins) as client:
            sources = Sources(client, Search(client, koop.search_url), judge)
            limits = ImageLimits.from_settings(Settings())
            await Download(options, state, blobs, sources, lambda event: None, PAGES, limits).run()
    taken_s = time.perf_counter() - began
    with State(folder / STATE_NAME, read_only=True) as state:
        assert state.count_days() == {"complete": DAYS}
    return taken_s


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for name, rate in report["pictures_per_s"].items():
        print(f"{name:12} {rate:7.1f} pictures/s")
