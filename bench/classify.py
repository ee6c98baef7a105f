"""Classifying the photos of a folder by a label set, against the same CLIP graph alone on ready tensors."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import bare, photos, random_models
from sightline.jobs.looking import for_many, look_at
from sightline.runtime.analyzer import Analyzer, Task
from sightline.settings import Settings

SECONDS, ROUNDS = 4.0, 3
IMAGE, TEXT = "clip-vit-b-32", "clip-vit-b-32-text"
MODELS = (IMAGE, TEXT)
PARAMS = {"label_set": "map-or-aerial"}
PHOTOS, PASSES = 24, 16
# An illustration, and a page at 100 dots per inch. Decoding takes processor time from the graph, most of the
# difference between the two.
SIZES = {"640×480": (640, 480), "827×1170": (827, 1170)}
BATCHES = (1, 4, 16)


def run() -> dict[str, Any]:
    """Measure both in turn, for each size anew: the machine may slow down as it warms up."""
    random_models.install(MODELS)
    graph = random_models.files(IMAGE)["image.onnx"]
    rates: dict[str, dict[str, float]] = {}
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            sources = [
                _written(Path(folder), n, data) for n, data in enumerate(photos.jpegs(*size, count=PHOTOS))
            ]
            alone, ours = [], []
            for _ in range(ROUNDS):
                alone.append(max(bare.images_per_s(graph, BATCHES, SECONDS / len(BATCHES)).values()))
                ours.append(asyncio.run(_images_per_s(sources)))
        rates[name] = {"bare graph": sum(alone) / ROUNDS, "folder": sum(ours) / ROUNDS}
    ratios = {
        f"images/s of the bare graph, {name}": rate["folder"] / rate["bare graph"]
        for name, rate in rates.items()
    }
    return {"images_per_s": rates, "ratios": ratios}


def _written(folder: Path, number: int, data: bytes) -> str:
    path = folder / f"{number:03}.jpg"
    path.write_bytes(data)
    return str(path)


async def _images_per_s(sources: list[str]) -> float:
    """Rate of ``sightline classify`` on a folder from its first photo to its last answer; models loaded
    beforehand. Nothing is left out: counting from one answer to another would flatter those that come in
    batches."""
    folder = sources * PASSES
    settings = Settings(models_dir=random_models.FOLDER, offline=True, allow_random_weights=True)
    async with Analyzer.create(for_many(settings, len(folder))) as analyzer:
        task = analyzer.bind(Task("class", "classify_zero_shot", PARAMS))
        async for _ in look_at(analyzer, sources, [task], 600, crops=False):
            pass
        began = time.perf_counter()
        async for seen in look_at(analyzer, folder, [task], 600, crops=False):
            assert seen.outcomes[0].error is None, seen.outcomes[0].error
        return len(folder) / (time.perf_counter() - began)


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for name, rates in report["images_per_s"].items():
        for side, rate in rates.items():
            print(f"{name:10} {side:12} {rate:7.1f} images/s")
