"""Measure the model that answers questions: first token, tokens per second, and CLIP beside it.

Speeds do not depend on the values of the weights: ``tests/parity/make_vlm.py full FOLDER`` makes some.

    python -m bench.questions FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from sightline.models import clip, qwen
from sightline.models.generation import GenerationRequest
from sightline.runtime.generation import ProcessGenerator
from sightline.runtime.graphs import Graphs
from sightline.runtime.resident import wanted
from sightline.settings import Settings
from sightline.weights.sources import Recipe
from sightline.weights.store import Store

SIDES_PX = (448, 640)
TOKENS = 40
PAUSE_S = 0.05


def photo(side: int) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    return b"P6\n%d %d\n255\n" % (side, side) + pixels.tobytes()


def clip_milliseconds(graph, until) -> list[float]:
    """How long one picture took CLIP B/32, asked again after a pause, until ``until()``."""
    spec = graph.inputs[0]
    pixels = np.zeros([size or 1 for size in spec.shape], spec.dtype)
    taken = []
    while not until():
        started = time.perf_counter()
        graph.run({spec.name: pixels})
        taken.append((time.perf_counter() - started) * 1000)
        time.sleep(PAUSE_S)
    return taken


def figures(taken: list[float]) -> str:
    ordered = sorted(taken)
    p95 = ordered[int(len(ordered) * 0.95)]
    return f"median {statistics.median(ordered):.0f} ms, p95 {p95:.0f} ms, {len(ordered)} pictures"


async def measure(folder: Path) -> None:
    generator = ProcessGenerator("bench", folder, qwen.LIMITS, 2)
    started = time.perf_counter()
    await asyncio.to_thread(generator.start)
    print(f"start with a first question: {time.perf_counter() - started:.1f} s")
    for side in SIDES_PX:
        for _ in range(2):
            request = GenerationRequest("What is in this photo?", (photo(side),), None, TOKENS)
            started = time.perf_counter()
            made = await generator.generate(request, lambda piece: None, 300)
            print(
                f"{side} px: first token {made.first_token_s:.1f} s, {made.tokens_per_s or 0:.1f} tokens/s, "
                f"{made.output_tokens} tokens, all {time.perf_counter() - started:.1f} s"
            )
    print(f"resident memory: {psutil.Process(generator.pid).memory_info().rss / 1e9:.1f} GB")
    with tempfile.TemporaryDirectory() as models:
        tower = next(each for each in clip.MODELS if each.name == "clip-vit-b-32")
        installed = Store(Path(models), allow_random=True).make_up(wanted(tower), Recipe(seed=0, size="full"))
        graph = Graphs(Settings(models_dir=Path(models)))(next(iter(installed.files.values())))
        ends = time.perf_counter() + 5
        alone = await asyncio.to_thread(clip_milliseconds, graph, lambda: time.perf_counter() > ends)
        request = GenerationRequest("What is in this photo?", (photo(448),), None, TOKENS)
        answering = asyncio.create_task(generator.generate(request, lambda piece: None, 300))
        beside = await asyncio.to_thread(clip_milliseconds, graph, answering.done)
        print(f"CLIP alone:  {figures(alone)}")
        print(f"CLIP beside: {figures(beside)}, {statistics.median(beside) / statistics.median(alone):.2f} x")
    await generator.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asyncio.run(measure(parser.parse_args().folder))
