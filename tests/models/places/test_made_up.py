"""Made-up places: installed without a network, and read as the real ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycountry
import pytest

from sightline.models.places import CARD, load
from sightline.models.places.land import LAND_FILE, read_land
from sightline.models.places.towns import Towns
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.types import Coordinate
from sightline.weights.sources import Recipe
from sightline.weights.store import Installed, Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    from sightline.models import catalogue

    store = Store(tmp_path_factory.mktemp("models"), offline=True, allow_random=True)
    return store.make_up(wanted(catalogue()[CARD.name]), Recipe(seed=4, size="tiny"))


def test_the_nearest_town_is_a_made_up_one_of_a_real_country(made: Installed) -> None:
    gazetteer = load(made.files, Graphs(Settings()))
    (place,) = gazetteer.infer([gazetteer.prepare(Coordinate(51.0, 11.0))])
    assert place.name.startswith("Made-up town")
    assert place.country_code == "DE"
    assert place.distance_km < 300


def test_every_country_exists_and_every_town_has_a_region(made: Installed) -> None:
    towns = Towns.read(made.files["towns.npz"])
    assert len(towns.names) == len(set(towns.names)) == 1_000
    for region, code in towns.areas:
        assert pycountry.countries.get(alpha_2=code)
        assert region.startswith("Made-up region")
    assert np.all(np.diff(towns.vectors[:, 2]) >= 0)


def test_land_is_closed_outlines(made: Installed) -> None:
    outlines = read_land(made.files[LAND_FILE])
    assert len(outlines) > 5
    for outline in outlines:
        assert np.array_equal(outline[0], outline[-1])
        assert np.all(np.abs(outline) <= (180, 90))


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    make_up = {artifact.name: artifact.made_up for artifact in CARD.artifacts}["towns.npz"]
    assert make_up is not None
    written = []
    for seed in (1, 1, 2):
        make_up(tmp_path / "towns.npz", Recipe(seed, "tiny"))
        written.append((tmp_path / "towns.npz").read_bytes())
    assert written[0] == written[1] != written[2]
