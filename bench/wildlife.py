"""Every animal of a camera trap's photo, found and named: ours against PyTorch in f32 per request."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Any

from bench import photos, random_models
from bench.load import Measured, Target, measure, once
from bench.plain_wildlife import SURE
from bench.servers import free_port, resident_mib, running, sightline

SECONDS = 60.0
CLIENTS = 8
OPERATION = "identify_species"
MODELS = ("megadetector-v5a", "speciesnet-v4.0.3a", "speciesnet-v4.0.3a-ensemble")
# What small camera traps write.
SIZE = (2048, 1536)
PHOTOS = 4
# The detector's arithmetic: the reference's, and what the processor does best.
PRECISIONS = {"ours, f32 detector": "f32", "ours, auto detector": "auto"}


def run() -> dict[str, Any]:
    """Measure the reference, then ours with either detector."""
    random_models.install(MODELS)
    images = photos.jpegs(*SIZE, count=PHOTOS)
    port = free_port()
    command = [sys.executable, "-m", "bench.plain_wildlife", str(port), str(random_models.SEED)]
    with running(command, port, "/livez", {}) as process:
        sides = {"plain": asyncio.run(_side(Target("plain", port, "/identify"), images))}
        sides["plain"]["resident_mib"] = resident_mib(process)
    for name, precision in PRECISIONS.items():
        port = free_port()
        with sightline(port, MODELS, detector_precision=precision, request_timeout_s="600") as process:
            target = Target(name, port, f"/v1/operations/{OPERATION}?min_confidence={SURE}")
            sides[name] = asyncio.run(_side(target, images))
            sides[name]["resident_mib"] = resident_mib(process)
    plain = sides["plain"]["measured"]["per_s"]
    ratios = {
        f"{name}: images/s, {CLIENTS} clients": sides[name]["measured"]["per_s"] / plain
        for name in PRECISIONS
    }
    return {"sides": sides, "ratios": ratios}


async def _side(target: Target, images: list[bytes]) -> dict[str, Any]:
    """How many things a server finds in each photo, and how fast it is."""
    found = [_count(await once(target, image)) for image in images]
    measured = await measure(target, images, concurrency=CLIENTS, seconds=SECONDS)
    return {"found": found, "measured": asdict(measured)}


def _count(answer: Any) -> int:
    """Detections that were classified."""
    if "images" in answer:
        answer = answer["images"][0]["results"][OPERATION]["data"]
    return len(answer["detections"])


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for name, side in report["sides"].items():
        measured = Measured(**side["measured"])
        print(f"{name:20} {60 * measured.per_s:6.1f} photos/min, half within {measured.p50_ms / 1000:.1f} s")
        print(f"{'':20} classified per photo: {side['found']}; {side['resident_mib']:.0f} MiB resident")
