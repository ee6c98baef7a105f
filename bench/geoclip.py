"""Geolocation over HTTP: ours against the geoclip library, on one random backbone with the real heads."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from bench import bare, photos, random_models
from bench.load import Measured, Target, measure
from bench.servers import free_port, resident_mib, sightline
from sightline.models import geoclip
from sightline.runtime.graphs import Graphs
from sightline.settings import Settings

SECONDS = 20.0
CLIENTS = 8
# The library takes tens of seconds for each.
LIBRARY_PICTURES = 2
BATCHES = (1, 2, 4)


def run() -> dict[str, Any]:
    """Measure both sides."""
    report: dict[str, Any] = {"build_s": random_models.install(["places", "geoclip"])}
    files = random_models.files("geoclip")
    report["load_s"] = load_s(files)
    report["bare_graph_per_s"] = bare.images_per_s(files["image.onnx"], BATCHES, SECONDS / 2)
    report |= served()
    report["library_per_s"] = library_per_s()
    report["ratios"] = ratios(report)
    return report


def load_s(files: Mapping[str, Path]) -> dict[str, float]:
    """Seconds to open everything, and all but the backbone."""
    graphs = Graphs(Settings())
    began = time.perf_counter()
    graph = graphs(files["image.onnx"])
    backbone = time.perf_counter() - began
    began = time.perf_counter()
    geoclip.load(files, lambda path, **_: graph)
    return {"backbone": backbone, "heads and gallery": time.perf_counter() - began}


def served() -> dict[str, Any]:
    port = free_port()
    target = Target("ours", port, "/v1/analyze?operation=geolocate")
    images = photos.jpegs(640, 480)
    with sightline(port, preload=["geoclip", "places"]) as process:
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

    from bench import originals

    model = library.GeoCLIP(clip_pretrained=False).eval()
    tower = originals.clip_l_14_image(random_models.SEED)
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
    for name, figures in report["ours"].items():
        print(f"ours, {name:12} {Measured(**figures)}")
    print(f"library            {report['library_per_s']:8.4f} images/s")
    print("bare graph, images/s by batch:", {k: round(v, 2) for k, v in report["bare_graph_per_s"].items()})
    for name, mib in report["resident_mib"].items():
        print(f"resident: {name:10} {mib:7.0f} MiB")
