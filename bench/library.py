"""A photo library: search at 100,000 vectors, unchanged files, and indexing against the bare graph."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import bare, photos, random_models
from sightline.jobs.libraries.folders import differences
from sightline.jobs.libraries.indexing import Indexing
from sightline.jobs.libraries.runs import Indexed
from sightline.jobs.looking import for_many
from sightline.libraries import Filter, Library, NewItem, Shelf, VectorModel
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings

MODEL = "clip-vit-b-32"
ROWS, DIMENSIONS, QUERIES, TOP = 100_000, 512, 200, 10
# One row in 300 has this country, as in the measurements that the design was chosen by.
COUNTRIES = 300
PHOTOS = {"640x480": (640, 480, 600), "4000x3000": (4000, 3000, 60)}


def run() -> dict[str, Any]:
    """Measure all three; targets are in the report beside the figures."""
    with tempfile.TemporaryDirectory() as folder:
        report: dict[str, Any] = _searched(Path(folder))
    random_models.install([MODEL])
    rate = bare.images_per_s(random_models.files(MODEL)["image.onnx"], (8, 16), 4.0)
    report["bare graph, images/s"] = max(rate.values())
    for name, (width, height, count) in PHOTOS.items():
        per_s = asyncio.run(_indexed(width, height, count))
        report[f"indexing {name}, images/s"] = per_s
        report[f"indexing {name}, of the bare graph"] = per_s / max(rate.values())
    return report


def show(report: dict[str, Any]) -> None:
    for name, value in report.items():
        print(f"{name:45} {value:10.3f}")


def clustered(rows: int, seed: int) -> NDArray[np.float32]:
    """float32 [rows, 512]: 2,000 clusters of 64 dimensions around a common mean, as CLIP's vectors lie."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    axes, centres = fixed.normal(size=(64, DIMENSIONS)), fixed.normal(size=(2_000, 64))
    inside = centres[random.integers(0, len(centres), rows)] + 0.6 * random.normal(size=(rows, 64))
    vectors = inside @ axes + 3.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _searched(folder: Path) -> dict[str, Any]:
    vectors = clustered(ROWS, 1)
    files = folder / "photos"
    shelf = Shelf(folder / "libraries")
    with shelf.open("bench", create=True) as library:
        model = library.begin_model(MODEL, MODEL, "0" * 64, DIMENSIONS, "published")
        _fill(library, model, files, vectors)
        library.add_root(str(files))
        began = time.perf_counter()
        found = differences(library, [files])
        unchanged_s = time.perf_counter() - began
        assert found.unchanged == ROWS, found
        library.index(model)  # makes the files
    del found
    before_mib = _resident_mib()
    with shelf.open("bench") as library:
        began = time.perf_counter()
        library.index(model)
        open_s = time.perf_counter() - began
        queries = clustered(QUERIES, 2)
        plain = _times_ms(lambda query: library.nearest(model, query, TOP), queries)
        wanted = Filter(where="country = C7")
        filtered = _times_ms(lambda query: library.nearest(model, query, TOP, library.ids(wanted)), queries)
        resident_mib = _resident_mib() - before_mib
        recall = _recall(library, model, vectors, queries, None)
        filtered_recall = _recall(library, model, vectors, queries, library.ids(wanted))
    return {
        "open, s (1)": open_s,
        "search p50, ms (10)": statistics.median(plain),
        "search p95, ms": statistics.quantiles(plain, n=20)[-1],
        "recall@10 (0.99)": recall,
        "filtered search p50, ms (20)": statistics.median(filtered),
        "filtered recall@10 (1.0)": filtered_recall,
        "resident by searching, MiB (300)": resident_mib,
        "second run over 100,000 unchanged files, s (60)": unchanged_s,
    }


def _fill(library: Library, model: VectorModel, files: Path, vectors: NDArray[np.float32]) -> None:
    files.mkdir()
    items = []
    for number, vector in enumerate(vectors):
        path = files / f"{number % 100:02}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        status = path.stat()
        items.append(
            NewItem(
                path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=f"{number:064x}",
                perceptual_hash=number, format="jpeg", width=640, height=480,
                country=f"C{number % COUNTRIES}", vectors={model.id: vector},
            )
        )  # fmt: skip
        if len(items) == 2_000:
            library.add(items)
            items = []
    library.add(items)


def _times_ms(search: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> list[float]:
    times = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        times.append(1000 * (time.perf_counter() - began))
    return times


def _recall(
    library: Library,
    model: VectorModel,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    only: NDArray[np.int64] | None,
) -> float:
    """Part of the ten nearest, by an exact comparison in numpy, that a search finds."""
    kept = vectors.astype(np.float16).astype(np.float32)
    ids = np.arange(1, ROWS + 1) if only is None else only
    hits = 0
    for query in queries:
        exact = ids[np.argsort(-(kept[ids - 1] @ query), kind="stable")[:TOP]]
        hits += len(np.intersect1d(exact, library.nearest(model, query, TOP, only).items))
    return hits / (TOP * len(queries))


def _resident_mib() -> float:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


class _Silent:
    def begin(self, total: int) -> None:
        pass

    def __call__(self, indexed: Indexed) -> None:
        assert not indexed.reason, indexed


async def _indexed(width: int, height: int, count: int) -> float:
    """Photos per second of a run over ``count`` of them, the model loaded before."""
    settings = for_many(
        Settings(_env_file=None, models_dir=random_models.FOLDER, offline=True, allow_random_weights=True),
        count,
    )
    folder = Path(tempfile.mkdtemp())
    try:
        images = photos.jpegs(width, height)
        for number in range(count):
            # A comment at the end makes each file another one.
            (folder / f"{number}.jpg").write_bytes(images[number % len(images)] + os.urandom(8))
        async with Analyzer.create(settings) as analyzer:
            with Shelf(folder / "libraries").open("warm", create=True) as library:
                (folder / "warm").mkdir()
                for number in range(40):
                    (folder / "warm" / f"{number}.jpg").write_bytes(images[0] + os.urandom(8))
                await Indexing(analyzer, library, [folder / "warm"], _Silent(), [MODEL]).run()
            shutil.rmtree(folder / "warm")
            with Shelf(folder / "libraries").open("bench", create=True) as library:
                began = time.perf_counter()
                tally = await Indexing(analyzer, library, [folder], _Silent(), [MODEL]).run()
                assert sum(tally.counts.values()) == count
                return count / (time.perf_counter() - began)
    finally:
        shutil.rmtree(folder)
