"""Classifying the photos of a folder by a label set, against the same CLIP graph alone on ready tensors."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import bare, photos, random_models
from sightline.jobs.looking import look_at, unrefused
from sightline.runtime.analyzer import Analyzer, Task
from sightline.settings import Settings

SECONDS = 15.0
IMAGE, TEXT = "clip-vit-b-32", "clip-vit-b-32-text"
MODELS = (IMAGE, TEXT)
PARAMS = {"label_set": "map-or-aerial"}
FOLDER_PHOTOS = 64
# What a page of a publication or a scanned map has at 100 dots per inch.
SIZE = (827, 1170)
BATCHES = (1, 4, 16)


def run() -> dict[str, Any]:
    """Measure both, twice in turn: the machine may slow down as it warms up."""
    random_models.install(MODELS)
    graph = random_models.files(IMAGE)["image.onnx"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(photos.jpegs(*SIZE, count=FOLDER_PHOTOS)):
            (folder / f"{number:03}.jpg").write_bytes(data)
        alone, ours = [], []
        for _ in range(2):
            alone.append(max(bare.images_per_s(graph, BATCHES, SECONDS / len(BATCHES) / 2).values()))
            ours.append(asyncio.run(_images_per_s([str(path) for path in sorted(folder.iterdir())])))
    rates = {"bare graph": sum(alone) / 2, "folder": sum(ours) / 2}
    return {
        "images_per_s": rates,
        "ratios": {"images/s of the bare graph": rates["folder"] / rates["bare graph"]},
    }


async def _images_per_s(sources: list[str]) -> float:
    """Rate of ``jobs.looking``, as the command line and the downloads use it; models loaded beforehand."""
    settings = Settings(models_dir=random_models.FOLDER, offline=True, allow_random_weights=True)
    async with Analyzer.create(unrefused(settings)) as analyzer:
        task = analyzer.bind(Task("class", "classify_zero_shot", PARAMS))
        async for _ in look_at(analyzer, sources[:4], [task], 600, crops=False):
            pass
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS / 2:
            async for seen in look_at(analyzer, sources, [task], 600, crops=False):
                assert seen.outcomes[0].error is None, seen.outcomes[0].error
                count += 1
        return count / (time.perf_counter() - started)


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for name, rate in report["images_per_s"].items():
        print(f"{name:12} {rate:7.1f} images/s")
