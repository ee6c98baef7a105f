"""Person, face, CLIP of three regions, DINOv2 and a caption per photo: ours against the old service."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from bench import photos, random_models
from bench.load import Measured, Target, measure, once
from bench.plain_image_embed import CAPTION_TOKENS, CAPTIONER, DINO, DINO_SIZE
from bench.servers import free_port, resident_mib, running, sightline

SECONDS = 20.0
MODELS = ("fasterrcnn-resnet50-fpn", "mtcnn", "clip-vit-b-32", DINO, CAPTIONER)
CLIENTS = {"1 client": 1, "8 clients": 8}
TASKS = [
    {"id": "person", "operation": "detect_bounding_box", "params": {"target": "prominent_person"}},
    {"id": "face", "operation": "detect_bounding_box", "params": {"target": "prominent_face"}},
    {"id": "clip", "operation": "embed_clip_vit_b_32"},
    {"id": "clip_person", "operation": "embed_clip_vit_b_32", "params": {"target": "prominent_person"}},
    {"id": "clip_face", "operation": "embed_clip_vit_b_32", "params": {"target": "prominent_face"}},
    {"id": "dino", "operation": "embed_dino_v2", "params": {"size": DINO_SIZE}},
    {
        "id": "caption",
        "operation": "describe_image",
        "params": {"model": CAPTIONER, "max_length": CAPTION_TOKENS},
    },
]


def run() -> dict[str, Any]:
    """Measure the old service, ours, and ours with a detector that computes as the processor likes best."""
    random_models.install(MODELS)
    port = free_port()
    command = [sys.executable, "-m", "bench.plain_image_embed", str(port), str(random_models.SEED)]
    with running(command, port, "/livez", {}) as process:
        plain = asyncio.run(_runs(Target("plain", port, "/analyze")))
        plain["resident_mib"] = resident_mib(process)
    sides = {"plain": plain, "ours": _ours(), "ours, auto": _ours(detector_precision="auto")}
    ratios = {
        f"{name}: {what}": figure
        for name, side in sides.items()
        if side is not plain
        for what, figure in _ratios(plain, side).items()
    }
    return {"sides": sides, "ratios": ratios}


def _ours(**settings: str) -> dict[str, Any]:
    port = free_port()
    with sightline(port, preload=MODELS, **settings) as process:
        figures = asyncio.run(_runs(Target("ours", port, "/v1/analyze", {"tasks": json.dumps(TASKS)})))
        figures["resident_mib"] = resident_mib(process)
        return figures


async def _runs(target: Target) -> dict[str, Any]:
    images = photos.jpegs(640, 480)
    await once(target, images[0])
    return {
        name: asdict(await measure(target, images, concurrency=clients, seconds=SECONDS))
        for name, clients in CLIENTS.items()
    }


def _ratios(plain: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    return {
        "p50 latency, 1 client (lower is ours)": ours["1 client"]["p50_ms"] / plain["1 client"]["p50_ms"],
        "requests/s, 8 clients": ours["8 clients"]["per_s"] / plain["8 clients"]["per_s"],
        "resident memory": ours["resident_mib"] / plain["resident_mib"],
    }


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for side, figures in report["sides"].items():
        for name in CLIENTS:
            print(f"{side:10} {name:10} {Measured(**figures[name])}")
        print(f"{side:10} resident {figures['resident_mib']:.0f} MiB")
