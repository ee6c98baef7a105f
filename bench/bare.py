"""A graph alone, in a loop on ready tensors: what everything around it is measured by."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sightline.runtime.graphs import Graphs
from sightline.settings import Settings


def images_per_s(path: Path, batches: Iterable[int], seconds: float) -> dict[str, float]:
    """Rates of a graph that reads uint8 [N, 224, 224, 3], by batch size."""
    graph = Graphs(Settings())(path)
    rates: dict[str, float] = {}
    for batch in batches:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
        inputs = {graph.inputs[0].name: pixels}
        graph.run(inputs)
        rounds, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            graph.run(inputs)
            rounds += 1
        rates[str(batch)] = rounds * batch / (time.perf_counter() - started)
    return rates
