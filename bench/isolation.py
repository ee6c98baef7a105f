"""Decoding in processes of their own against decoding in the server's: CLIP on 640 × 480 JPEGs."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from bench import photos, random_models
from sightline.runtime.analyzer import Analyzer, Task
from sightline.runtime.engine import Context
from sightline.settings import Settings
from sightline.types import Priority

MODEL = "clip-vit-b-32"
OPERATION = "embed_clip_vit_b_32"
SECONDS, ROUNDS, CLIENTS = 6.0, 3, 16


def run() -> dict[str, Any]:
    """Both in turn, several times: the median of each round's rate and latency."""
    random_models.install([MODEL])
    images = photos.jpegs(640, 480)
    sides: dict[str, list[dict[str, float]]] = {"isolated": [], "in process": []}
    for _ in range(ROUNDS):
        for side, workers in (("in process", 0), ("isolated", -1)):
            sides[side].append(asyncio.run(_measured(images, workers)))
    report: dict[str, Any] = {
        side: {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        for side, rounds in sides.items()
    }
    isolated, plain = report["isolated"], report["in process"]
    report["ratios"] = {
        "images per second, 16 at once": isolated["per_s"] / plain["per_s"],
        "latency alone": isolated["latency_ms"] / plain["latency_ms"],
    }
    return report


def show(report: dict[str, Any]) -> None:
    for side in ("in process", "isolated"):
        found = report[side]
        print(f"{side:12} {found['per_s']:7.1f} images/s, alone {found['latency_ms']:6.2f} ms")


async def _measured(images: list[bytes], workers: int) -> dict[str, float]:
    settings = Settings(
        _env_file=None,
        models_dir=random_models.FOLDER,
        offline=True,
        allow_random_weights=True,
        decode_workers=workers,
    )
    async with Analyzer.create(settings) as analyzer:
        task = analyzer.bind(Task("t", OPERATION))

        async def one(number: int) -> None:
            picture = await analyzer.engine.work(analyzer.open, images[number % len(images)])
            context = Context.lasting(60, Priority.INTERACTIVE)
            (outcome,) = await analyzer.analyze(picture, [task], context)
            if outcome.error is not None:
                raise outcome.error

        await asyncio.gather(*(one(number) for number in range(2 * CLIENTS)))
        done, began = 0, time.perf_counter()

        async def client() -> None:
            nonlocal done
            while time.perf_counter() - began < SECONDS:
                await one(done)
                done += 1

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        per_s = done / (time.perf_counter() - began)
        alone = []
        for number in range(60):
            started = time.perf_counter()
            await one(number)
            alone.append(1000 * (time.perf_counter() - started))
        return {"per_s": per_s, "latency_ms": statistics.median(alone)}
