"""``make bench``: prints a table and writes ``bench/results/latest.json``.

Every ratio compares two things measured in this run on this machine with the load client beside them.
"""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench import photos
from bench.load import Measured, Target, measure, once
from bench.servers import free_port, resident_mib, running
from sightline.models.clip import MODELS
from sightline.runtime.graphs import Graphs, cpu_computes_bf16
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Store

SEED = 0
SECONDS = 10.0
MODEL = "clip-vit-b-32"
OPERATION = "embed_clip_vit_b_32"
RESULTS = Path(__file__).parent / "results" / "latest.json"
# Random weights are kept between runs: exporting them takes half a minute.
MODELS_DIR = Path(__file__).parent.parent / ".cache" / "bench-models"

SCENARIOS = {
    "640x480, 16 clients": (640, 480, 16),
    "4000x3000, 16 clients": (4000, 3000, 16),
    "640x480, 1 client": (640, 480, 1),
}


def main() -> None:
    store = Store(MODELS_DIR, allow_random=True)
    definition = next(each for each in MODELS if each.name == MODEL)
    if store.installed(wanted(definition)) is None:
        print("exporting", MODEL, "with random weights", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            export = [
                sys.executable,
                "-m",
                "sightline.export",
                "clip",
                "--model",
                MODEL,
                "--weights",
                "random",
            ]
            subprocess.run([*export, "--seed", str(SEED), "--size", "full", "--out", folder], check=True)
            store.adopt(wanted(definition), Path(folder), Provenance.RANDOM, f"seed {SEED}")
    report: dict[str, Any] = {"machine": machine()}
    report["plain"] = measured_plain()
    report["ours"] = measured_ours()
    report["bare_graph_per_s"] = bare_graph_per_s()
    report["cosine"] = cosine(report["plain"].pop("vector"), report["ours"].pop("vector"))
    report["ratios"] = ratios(report)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


def measured_plain() -> dict[str, Any]:
    port = free_port()
    with running(
        [sys.executable, "-m", "bench.plain_server", str(port), str(SEED)], port, "/livez", {}
    ) as process:
        embed = Target("plain", port, "/embed")
        faces = Target("plain faces", port, "/faces")
        return asyncio.run(runs(embed, faces)) | {"resident_mib": resident_mib(process)}


def measured_ours() -> dict[str, Any]:
    port = free_port()
    env = {
        "SIGHTLINE_MODELS_DIR": str(MODELS_DIR),
        "SIGHTLINE_ALLOW_RANDOM_WEIGHTS": "1",
        "SIGHTLINE_PRELOAD": f"{MODEL},mtcnn",
        "SIGHTLINE_PORT": str(port),
        "SIGHTLINE_LAME_DUCK_S": "0",
        "SIGHTLINE_LOG_LEVEL": "error",
    }
    with running(
        [str(Path(sys.executable).with_name("sightline")), "serve"], port, "/readyz", env
    ) as process:
        embed = Target("ours", port, f"/v1/analyze?operation={OPERATION}")
        faces = Target("ours faces", port, "/v1/analyze?operation=detect_bounding_box&target=prominent_face")
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


def bare_graph_per_s() -> dict[str, float]:
    """Our graph in a loop on ready tensors, by batch size."""
    store = Store(MODELS_DIR, allow_random=True)
    definition = next(each for each in MODELS if each.name == MODEL)
    installed = store.installed(wanted(definition))
    assert installed is not None
    graph = Graphs(Settings())(installed.files["image.onnx"])
    rates: dict[str, float] = {}
    for batch in (1, 4, 8, 16, 32):
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
        inputs = {graph.inputs[0].name: pixels}
        graph.run(inputs)
        rounds, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS / 3:
            graph.run(inputs)
            rounds += 1
        rates[str(batch)] = rounds * batch / (time.perf_counter() - started)
    return rates


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


def machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "computes_bf16": cpu_computes_bf16(),
    }


def show(report: dict[str, Any]) -> None:
    for side in ("plain", "ours"):
        for name, run in report[side].items():
            if isinstance(run, dict):
                shown = Measured(**run)
                print(
                    f"{side:6} {name:26} {shown.per_s:8.1f} images/s   p50 {shown.p50_ms:7.1f} ms   "
                    f"p99 {shown.p99_ms:7.1f} ms"
                )
        print(f"{side:6} resident {report[side]['resident_mib']:.0f} MiB")
    print("bare graph, images/s by batch:", {k: round(v, 1) for k, v in report["bare_graph_per_s"].items()})
    print(f"cosine of the two servers' vectors: {report['cosine']:.6f}")
    for name, ratio in report["ratios"].items():
        print(f"ratio  {name:42} {ratio:6.2f}")


if __name__ == "__main__":
    main()
