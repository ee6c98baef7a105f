"""``python -m bench.geoclip``: geolocation over HTTP beside the geoclip library, on one random backbone.

Prints a table and writes ``bench/results/geoclip.json``. Both sides have the real heads and 100,000 points,
and all rates are of this run on this machine.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench import photos
from bench.__main__ import MODELS_DIR, RESULTS, SEED, machine
from bench.load import Measured, Target, measure
from bench.servers import free_port, resident_mib, running
from sightline.models import geoclip, places
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Installed, Store

SECONDS = 20.0
CLIENTS = 8
# The library takes tens of seconds for each.
LIBRARY_PICTURES = 2
BATCHES = (1, 2, 4)


def main() -> None:
    store = Store(MODELS_DIR, allow_random=True)
    report: dict[str, Any] = {"machine": machine(), "build_s": {}}
    installed = install(store, report["build_s"])
    report["load_s"] = load_s(installed.files)
    report["bare_graph_per_s"] = bare_graph_per_s(installed.files)
    report |= served()
    report["library_per_s"] = library_per_s()
    report["ratios"] = ratios(report)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.with_name("geoclip.json").write_text(json.dumps(report, indent=2) + "\n")
    show(report)


def install(store: Store, build_s: dict[str, float]) -> Installed:
    """The random backbone with its real heads, and the places. ``build_s`` gets the time of what is built."""
    (towns,) = places.MODELS
    store.pull(wanted(towns))
    (definition,) = geoclip.MODELS
    installed = store.installed(wanted(definition))
    if installed is not None:
        return installed
    print("exporting geoclip with random weights", flush=True)
    began: dict[str, float] = {}

    def timed(label: str, done: int, total: int | None) -> None:
        build_s[label] = time.perf_counter() - began.setdefault(label, time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        export = [
            sys.executable,
            "-m",
            "sightline.export",
            "clip",
            "--model",
            "geoclip",
            "--weights",
            "random",
        ]
        subprocess.run([*export, "--seed", str(SEED), "--size", "full", "--out", folder], check=True)
        return store.adopt(wanted(definition), Path(folder), Provenance.RANDOM, f"seed {SEED}", timed)


def load_s(files: Mapping[str, Path]) -> dict[str, float]:
    """Seconds to open everything, and all but the backbone."""
    graphs = Graphs(Settings())
    began = time.perf_counter()
    graph = graphs(files["image.onnx"])
    backbone = time.perf_counter() - began
    began = time.perf_counter()
    geoclip.load(files, lambda path, **_: graph)
    return {"backbone": backbone, "heads and gallery": time.perf_counter() - began}


def bare_graph_per_s(files: Mapping[str, Path]) -> dict[str, float]:
    """The backbone alone in a loop on ready tensors, by batch size."""
    graph = Graphs(Settings())(files["image.onnx"])
    rates: dict[str, float] = {}
    for batch in BATCHES:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
        inputs = {graph.inputs[0].name: pixels}
        graph.run(inputs)
        rounds, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS / 2:
            graph.run(inputs)
            rounds += 1
        rates[str(batch)] = rounds * batch / (time.perf_counter() - started)
    return rates


def served() -> dict[str, Any]:
    port = free_port()
    env = {
        "SIGHTLINE_MODELS_DIR": str(MODELS_DIR),
        "SIGHTLINE_ALLOW_RANDOM_WEIGHTS": "1",
        "SIGHTLINE_PRELOAD": "geoclip,places",
        "SIGHTLINE_PORT": str(port),
        "SIGHTLINE_LAME_DUCK_S": "0",
        "SIGHTLINE_LOG_LEVEL": "error",
    }
    command = [str(Path(sys.executable).with_name("sightline")), "serve"]
    target = Target("ours", port, "/v1/analyze?operation=geolocate")
    images = photos.jpegs(640, 480)
    with running(command, port, "/readyz", env) as process:
        runs = {
            f"{clients} clients": asdict(
                asyncio.run(measure(target, images, concurrency=clients, seconds=SECONDS))
            )
            for clients in (1, CLIENTS)
        }
        return {
            "ours": runs,
            "resident_mib": {"server": resident_mib(process), "gallery": gallery_mib(process)},
        }


def gallery_mib(process: psutil.Process) -> float:
    """What of the gallery's file is in memory now: clean pages, which the system may take back."""
    maps = process.memory_maps(grouped=True)
    return sum(each.rss for each in maps if Path(each.path).name == "gallery.npy") / 2**20


def library_per_s() -> float:
    """``GeoCLIP.predict`` as it is released, after one picture to warm up."""
    import geoclip as library
    import torch

    from sightline.export import Order
    from sightline.export.clip import reference
    from sightline.models.clip import TOWERS

    order = Order(model="geoclip", weights="random", seed=SEED, size="full", output=Path())
    model = library.GeoCLIP(clip_pretrained=False).eval()
    tower = reference(next(tower for tower in TOWERS if tower.name == "clip-vit-l-14"), order)
    model.image_encoder.CLIP.vision_model.load_state_dict(tower.vision_model.state_dict())
    model.image_encoder.CLIP.visual_projection.load_state_dict(tower.visual_projection.state_dict())
    images = photos.jpegs(640, 480, LIBRARY_PICTURES + 1)
    with torch.no_grad():
        model.predict(io.BytesIO(images[0]), top_k=5)
        started = time.perf_counter()
        for image in images[1:]:
            model.predict(io.BytesIO(image), top_k=5)
    return LIBRARY_PICTURES / (time.perf_counter() - started)


def ratios(report: Mapping[str, Any]) -> dict[str, float]:
    ours = report["ours"][f"{CLIENTS} clients"]["per_s"]
    return {
        f"of the bare graph, {CLIENTS} clients": ours / max(report["bare_graph_per_s"].values()),
        f"images/s of the library, {CLIENTS} clients": ours / report["library_per_s"],
        "images/s of the library, 1 client": report["ours"]["1 clients"]["per_s"] / report["library_per_s"],
    }


def show(report: Mapping[str, Any]) -> None:
    for label, seconds in report["build_s"].items():
        print(f"installing: {label:24} {seconds:8.1f} s")
    for label, seconds in report["load_s"].items():
        print(f"loading:    {label:24} {seconds:8.2f} s")
    for name, run in report["ours"].items():
        shown = Measured(**run)
        print(
            f"ours, {name:12} {shown.per_s:8.2f} images/s   p50 {shown.p50_ms:7.0f} ms   "
            f"p99 {shown.p99_ms:7.0f} ms"
        )
    print(f"library            {report['library_per_s']:8.4f} images/s")
    print("bare graph, images/s by batch:", {k: round(v, 2) for k, v in report["bare_graph_per_s"].items()})
    for name, mib in report["resident_mib"].items():
        print(f"resident: {name:10} {mib:7.0f} MiB")
    for name, ratio in report["ratios"].items():
        print(f"ratio  {name:42} {ratio:6.2f}")


if __name__ == "__main__":
    main()
