"""Person, face, CLIP of three regions, DINOv2 and a caption per photo: ours against the old service."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from bench import photos, random_models
from bench.load import Measured, Target, measure, once
from bench.plain_image_embed import CAPTION_TOKENS
from bench.servers import free_port, resident_mib, running, sightline

SECONDS = 20.0
MODELS = ("fasterrcnn-resnet50-fpn", "mtcnn", "clip-vit-b-32", "dinov2-base", "blip-base")
CLIENTS = {"1 client": 1, "8 clients": 8}
TASKS = [
    {"id": "person", "operation": "detect_bounding_box", "params": {"target": "prominent_person"}},
    {"id": "face", "operation": "detect_bounding_box", "params": {"target": "prominent_face"}},
    {"id": "clip", "operation": "embed_clip_vit_b_32"},
    {"id": "clip_person", "operation": "embed_clip_vit_b_32", "params": {"target": "prominent_person"}},
    {"id": "clip_face", "operation": "embed_clip_vit_b_32", "params": {"target": "prominent_face"}},
    {"id": "dino", "operation": "embed_dino_v2"},
    {"id": "caption", "operation": "describe_image", "params": {"max_length": CAPTION_TOKENS}},
]


def run() -> dict[str, Any]:
    """Measure both sides."""
    random_models.install(MODELS)
    port = free_port()
    command = [sys.executable, "-m", "bench.plain_image_embed", str(port), str(random_models.SEED)]
    with running(command, port, "/livez", {}) as process:
        plain = asyncio.run(_runs(Target("plain", port, "/analyze")))
        plain["resident_mib"] = resident_mib(process)
    port = free_port()
    with sightline(port, preload=MODELS) as process:
        ours = asyncio.run(_runs(Target("ours", port, "/v1/analyze", {"tasks": json.dumps(TASKS)})))
        ours["resident_mib"] = resident_mib(process)
    return {"plain": plain, "ours": ours, "ratios": _ratios(plain, ours)}


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
    for side in ("plain", "ours"):
        for name in CLIENTS:
            print(f"{side:6} {name:10} {Measured(**report[side][name])}")
        print(f"{side:6} resident {report[side]['resident_mib']:.0f} MiB")
