"""What tests of collections share: a collection, and versions with numbers that tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.collections import Classifier, Collection, Collections, Recipe, Space

DIMENSIONS = 8
FINGERPRINT = "0123456789abcdef"
RECIPE = Recipe((Space("clip-vit-b-32", FINGERPRINT),), DIMENSIONS)


@pytest.fixture
def collections(tmp_path: Path) -> Collections:
    return Collections(tmp_path / "collections")


@pytest.fixture
def collection(collections: Collections) -> Collection:
    return collections.collection(7)


@pytest.fixture
def recipe() -> Recipe:
    return RECIPE


@pytest.fixture
def add() -> Callable[..., Classifier]:
    """Stores a version with all weights alike; ``promote=False`` leaves it unserved."""

    def store(
        collection: Collection,
        weight: float = 1.0,
        *,
        promote: bool = True,
        recipe: Recipe = RECIPE,
        **more: Any,
    ) -> Classifier:
        with collection.changing() as change:
            weights = np.full(recipe.dimensions, weight)
            about = {"origin": "trained", "trained_at": "2026-11-21T00:00:00+00:00", **more}
            classifier = change.add(recipe, weights, 0.25, **about)
            if promote:
                change.promote(classifier.record.version)
        return classifier

    return store
