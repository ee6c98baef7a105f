"""Collections: embedding a folder, training 50,000 × 512, classifying an embedding already in the scene."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from bench import bare, photos, random_models
from sightline.collections import Collection, Collections, Space
from sightline.jobs.collections.embedding import Embedded
from sightline.jobs.collections.examples import Examples, examples
from sightline.jobs.collections.kept_vectors import KeptVectors
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources import silent
from sightline.jobs.collections.sources.folders import Folders
from sightline.jobs.collections.training import fit, split, train
from sightline.jobs.looking import for_many
from sightline.runtime.analyzer import Analyzer, BoundTask, Task
from sightline.runtime.engine import Context
from sightline.runtime.graphs import Graphs
from sightline.runtime.scene import Scene
from sightline.settings import Settings

SPACE, SLOWER = "clip-vit-b-32", "dinov2-base"
EXAMPLES, DIMENSIONS = 50_000, 512
SCENES, COLLECTIONS = 200, 100
ALONE = 2_000
# DINOv2 has five times CLIP's multiply-adds.
PICTURES = {SPACE: 480, SLOWER: 96}
BARE_SECONDS = 5.0
BATCHES = {SPACE: (8, 16, 32), SLOWER: (1, 4, 8)}
SIZES = {"640x480": (640, 480), "320x240": (320, 240)}


def run() -> dict[str, Any]:
    """Measure training and serving."""
    random_models.install([SPACE, SLOWER])
    with tempfile.TemporaryDirectory() as folder:
        collections = Collections(Path(folder))
        report: dict[str, Any] = {"training_s": training_s(collections.collection("large"))}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the server
            report["classify_us"] = runner.run(classify_us(collections))
    report["judging_us"] = judging_us()
    folders = {f"{name}, {SPACE}": folder_per_s(SPACE, *size) for name, size in SIZES.items()}
    folders[f"640x480, {SLOWER}"] = folder_per_s(SLOWER, *SIZES["640x480"])
    report["folder_per_s"] = folders
    report["ratios"] = {
        "training, of scikit-learn's fit alone": report["training_s"]["fit alone"]
        / report["training_s"]["all"],
        "judging a vector, as scikit-learn": report["judging_us"]["scikit-learn"]
        / report["judging_us"]["ours"],
    }
    for name, rates in report["folder_per_s"].items():
        report["ratios"][f"folder of {name}, of the bare graph"] = rates["folder"] / rates["bare graph"]
        report["ratios"][f"folder of {name}, by processor time"] = (
            rates["bare graph, processor ms"] / rates["folder, processor ms"]
        )
    return report


def folder_per_s(space: str, width: int, height: int) -> dict[str, float]:
    """Pictures per second of a folder, of the same folder again, and of the graph alone.

    The graph alone is measured before and after, because machines get warm and neighbours busy. The ratio of
    processor times does not depend on neighbours at all; what it lacks to 1 is decoding, resizing and us.
    """
    graph = random_models.files(space)["image.onnx"]
    before = max(bare.images_per_s(graph, BATCHES[space], BARE_SECONDS).values())
    with tempfile.TemporaryDirectory() as path, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        fill(Path(path) / "pictures", width, height, PICTURES[space])
        rates = runner.run(embedded_per_s(Path(path), space))
    after = max(bare.images_per_s(graph, BATCHES[space], BARE_SECONDS).values())
    alone = {"bare graph": (before + after) / 2, "bare graph, processor ms": graph_processor_ms(graph)}
    return rates | alone


def graph_processor_ms(path: Path, batch: int = 16, rounds: int = 20) -> float:
    """Processor time of the graph alone, all threads together, per picture."""
    graph = Graphs(Settings())(path)
    inputs = {graph.inputs[0].name: np.zeros((batch, 224, 224, 3), np.uint8)}
    graph.run(inputs)
    started = time.process_time()
    for _ in range(rounds):
        graph.run(inputs)
    return (time.process_time() - started) / rounds / batch * 1e3


def fill(folder: Path, width: int, height: int, count: int) -> None:
    """A collection of ``count`` files; bytes after a picture's end make each of them another file."""
    made = photos.jpegs(width, height, 24)
    for number in range(count):
        part = folder / ("in" if number % 4 == 0 else "out")
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number:04}.jpg").write_bytes(made[number % len(made)] + number.to_bytes(4, "little"))


async def embedded_per_s(root: Path, space: str) -> dict[str, float]:
    settings = Settings(
        models_dir=random_models.FOLDER,
        collections_dir=root / "collections",
        allow_random_weights=True,
        offline=True,
    )
    collections = Collections.from_settings(settings)
    rates: dict[str, float] = {}
    async with Analyzer.create(for_many(settings, PICTURES[space])) as analyzer:
        plan = Plan((space,))
        for name in ("folder", "again"):
            kept = KeptVectors(collections)
            source = Folders(root / "pictures", analyzer, plan, kept)
            (offer,) = await source.offers()
            await analyzer.engine.residency.preload(space)
            started, used = time.perf_counter(), time.process_time()
            found: Embedded = await source.examples(offer, silent)
            rates[name] = len(found.examples) / (time.perf_counter() - started)
            rates[f"{name}, processor ms"] = (time.process_time() - used) / len(found.examples) * 1e3
            kept.close()
    return rates


def made(count: int, fingerprint: str | None = None) -> Examples:
    """Vectors like CLIP's in length and spread: a few strong directions, some noise; a fifth is inside."""
    generator = np.random.default_rng(0)
    labels = generator.random(count) < 0.2
    directions = generator.normal(size=(40, DIMENSIONS)) * (0.9 ** np.arange(40))[:, None]
    vectors = generator.normal(size=(count, 40)) @ directions * 0.25
    vectors += generator.normal(0, 0.08, vectors.shape) + generator.normal(0, 0.4, DIMENSIONS)
    vectors += np.outer(labels, generator.normal(size=DIMENSIONS) * 0.02)
    return examples(vectors.astype(np.float32), labels, [Space(SPACE, fingerprint)])


def training_s(collection: Collection) -> dict[str, float]:
    """Seconds of a whole training, and of scikit-learn on the same four fifths."""
    found = made(EXAMPLES)
    started = time.perf_counter()
    train(collection, found)
    trained = time.perf_counter()
    learnt, _ = split(found)
    began = time.perf_counter()
    fit(learnt)
    return {"all": trained - started, "fit alone": time.perf_counter() - began}


async def classify_us(collections: Collections) -> dict[str, float]:
    """Median microseconds of the operation: first thing after the embedding was computed, and one of many."""
    settings = Settings(
        models_dir=random_models.FOLDER,
        collections_dir=collections.root,
        allow_random_weights=True,
        offline=True,
    )
    async with Analyzer.create(settings) as analyzer:
        embed = analyzer.bind(Task("embed", "embed_clip_vit_b_32"))
        picture = analyzer.open(photos.jpegs(640, 480, 1)[0])
        (outcome,) = await analyzer.analyze(picture, [embed])
        assert outcome.answer is not None
        assert outcome.answer.model is not None
        found = made(200, outcome.answer.model.fingerprint)
        tasks = []
        for number in range(COLLECTIONS):
            train(collections.collection(number), found)
            tasks.append(analyzer.bind(Task("it", "classify", {"collection_id": number})))

        async def in_a_scene(asked: list[BoundTask]) -> list[float]:
            async with Scene(analyzer.engine, Context.lasting(30), picture) as scene:
                await embed.operation.run(scene, embed.params, analyzer.engine)
                return [await _took_us(scene, task, analyzer) for task in asked]

        await in_a_scene(tasks)
        first = [(await in_a_scene(tasks[:1]))[0] for _ in range(SCENES)]
        many = await in_a_scene(tasks)
    return {"right after computing": statistics.median(first), "one of many": statistics.median(many)}


async def _took_us(scene: Scene, task: BoundTask, analyzer: Analyzer) -> float:
    started = time.perf_counter()
    await task.operation.run(scene, task.params, analyzer.engine)
    return (time.perf_counter() - started) * 1e6


def judging_us() -> dict[str, float]:
    """Microseconds for one vector: ours, and what the old service does."""
    from sklearn.linear_model import LogisticRegression

    found = made(1000, "0" * 16)
    with tempfile.TemporaryDirectory() as folder:
        ours = train(Collections(Path(folder)).collection(1), found).serving
    theirs = LogisticRegression(class_weight="balanced", C=0.1, solver="liblinear", random_state=42)
    theirs.fit(found.vectors, found.labels)
    vector = found.vectors[0]

    def as_they_do() -> None:
        row = vector.reshape(1, -1)
        theirs.predict(row), theirs.predict_proba(row)

    return {
        "ours": _mean_us(lambda: ours.judge([vector], ["0" * 16])),
        "scikit-learn": _mean_us(as_they_do),
    }


def _mean_us(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(ALONE):
        function()
    return (time.perf_counter() - started) / ALONE * 1e6


def show(report: dict[str, Any]) -> None:
    """The report as lines."""
    for what, seconds in report["training_s"].items():
        print(f"training {EXAMPLES} × {DIMENSIONS}, {what:10} {seconds:8.2f} s")
    for size, rates in report["folder_per_s"].items():
        for what, per_s in rates.items():
            print(f"{size}, {what:28} {per_s:8.1f}" + ("" if "ms" in what else " pictures/s"))
    for part in ("classify_us", "judging_us"):
        for what, microseconds in report[part].items():
            print(f"{part.removesuffix('_us'):9} {what:24} {microseconds:8.1f} µs")
