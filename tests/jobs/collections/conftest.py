"""What tests of training share: examples of two kinds that can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.collections import Collection, Collections, Space
from sightline.jobs.collections.examples import Examples, examples

CLIP = Space("clip-vit-b-32", "0123456789abcdef")
DIMENSIONS = 32


@pytest.fixture
def collections(tmp_path: Path) -> Collections:
    return Collections(tmp_path / "collections")


@pytest.fixture
def collection(collections: Collections) -> Collection:
    return collections.collection(7)


@pytest.fixture
def made() -> Callable[..., Examples]:
    """Two clouds around one direction, ``gap`` apart; a third of the examples are in the collection.

    The same ``direction`` is the same collection; a negative gap is its opposite.
    """

    def make(
        gap: float = 6.0, *, count: int = 240, seed: int = 0, direction: int = 0, space: Space = CLIP
    ) -> Examples:
        generator = np.random.default_rng(seed)
        labels = np.arange(count) % 3 == 0
        axis = np.random.default_rng(direction).normal(size=DIMENSIONS)
        axis /= np.linalg.norm(axis)
        clouds = generator.normal(0, 1, (count, DIMENSIONS)) + 3.0
        return examples(clouds + np.outer(labels, gap * axis), labels, [space])

    return make
