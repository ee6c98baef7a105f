"""One CLIP vector per photo: ours against a plain PyTorch server, and against our own graph alone."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Any

import numpy as np

from bench import bare, photos, random_models
from bench.load import Measured, Target, measure, once
from bench.servers import free_port, resident_mib, running, sightline

SECONDS = 10.0
MODEL = "clip-vit-b-32"
OPERATION = "embed_clip_vit_b_32"

SCENARIOS = {
    "640x480, 16 clients": (640, 480, 16),
    "4000x3000, 16 clients": (4000, 3000, 16),
    "640x480, 1 client": (640, 480, 1),
}


def run() -> dict[str, Any]:
    """Measure both sides; everything is in the report, ``ratios`` above all."""
    random_models.install([MODEL, "mtcnn"])
    report: dict[str, Any] = {"plain": measured_plain(), "ours": measured_ours()}
    graph = random_models.files(MODEL)["image.onnx"]
    report["bare_graph_per_s"] = bare.images_per_s(graph, (1, 4, 8, 16, 32), SECONDS / 3)
    report["cosine"] = cosine(report["plain"].pop("vector"), report["ours"].pop("vector"))
    report["ratios"] = ratios(report)
    return report


def measured_plain() -> dict[str, Any]:
    port = free_port()
    with running(
        [sys.executable, "-m", "bench.plain_server", str(port), str(random_models.SEED)], port, "/livez", {}
    ) as process:
        embed = Target("plain", port, "/embed")
        faces = Target("plain faces", port, "/faces")
        return asyncio.run(runs(embed, faces)) | {"resident_mib": resident_mib(process)}


def measured_ours() -> dict[str, Any]:
    port = free_port()
    with sightline(port, preload=[MODEL, "mtcnn"]) as process:
        embed = Target("ours", port, f"/v1/analyze?operation={OPERATION}")
        faces = Target(
            "ours faces",
            port,
            "/v1/operations/detect_bounding_box?target=prominent_face&face_context=whole_image",
        )
        return asyncio.run(runs(embed, faces)) | {"resident_mib": resident_mib(process)}


async def runs(embed: Target, faces: Target) -> dict[str, Any]:
    """All scenarios of one server, and its vector for one photo."""
    vector = await once(embed, photos.jpegs(640, 480, 1)[0])
    found: dict[str, Any] = {"vector": vector}
    for name, (width, height, clients) in SCENARIOS.items():
        images = photos.jpegs(width, height)
        found[name] = asdict(await measure(embed, images, concurrency=clients, seconds=SECONDS))
    faces_640 = await measure(faces, photos.jpegs(640, 480), concurrency=4, seconds=SECONDS)
    found["faces 640x480, 4 clients"] = asdict(faces_640)
    return found


def cosine(plain: list[float], ours: dict[str, Any]) -> float:
    theirs = np.array(plain)
    vector = np.array(ours["images"][0]["results"][OPERATION]["data"]["vector"])
    return float(theirs @ vector / np.linalg.norm(theirs) / np.linalg.norm(vector))


def ratios(report: dict[str, Any]) -> dict[str, float]:
    plain, ours = report["plain"], report["ours"]
    found = {
        f"images/s, {name}": ours[name]["per_s"] / plain[name]["per_s"]
        for name in plain
        if isinstance(plain[name], dict)
    }
    alone = "640x480, 1 client"
    found["p50 latency, 1 client"] = ours[alone]["p50_ms"] / plain[alone]["p50_ms"]
    best = max(report["bare_graph_per_s"].values())
    found["of the bare graph, 640x480, 16 clients"] = ours["640x480, 16 clients"]["per_s"] / best
    found["resident memory"] = ours["resident_mib"] / plain["resident_mib"]
    return found


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for side in ("plain", "ours"):
        for name, figures in report[side].items():
            if isinstance(figures, dict):
                print(f"{side:6} {name:26} {Measured(**figures)}")
        print(f"{side:6} resident {report[side]['resident_mib']:.0f} MiB")
    print("bare graph, images/s by batch:", {k: round(v, 1) for k, v in report["bare_graph_per_s"].items()})
    print(f"cosine of the two servers' vectors: {report['cosine']:.6f}")
