from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sightline.capabilities.geolocation import GEOLOCATION, Geolocation, LocationCandidate, LocationCluster
from sightline.capabilities.places import PLACES, Place
from sightline.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelUnavailable,
    Overloaded,
    SightlineError,
)
from sightline.imaging import ImageLimits, View, open_picture
from sightline.operations import Answer, Inference
from sightline.operations.geolocate import Geolocate, GeolocateResult
from sightline.types import Coordinate, ModelRef, Provenance, Region

FOUND = Geolocation(
    candidates=tuple(LocationCandidate(Coordinate(40 + n, -n), 0.01 * (10 - n)) for n in range(10)),
    clusters=(LocationCluster(Coordinate(48.856612, 2.352212), 0.75, 123.456),),
    radius_50_km=12.345,
    radius_90_km=678.9,
)


class Scene:
    """Answers as models would; ``places`` is an error to raise for coordinates, or None."""

    def __init__(
        self,
        photo: bytes,
        places: SightlineError | None = None,
        able: tuple[Any, ...] = (GEOLOCATION, PLACES),
    ) -> None:
        self.picture = open_picture(photo, ImageLimits(10**8, 10**8, 10**5))
        self.asked: list[Any] = []
        self._places = places
        self._able = able

    def view(self, region: Region) -> View:
        return View(self.picture, region.box)

    async def infer(self, capability: Any, subject: Any) -> Inference[Any]:
        if capability not in self._able:
            raise ModelUnavailable(f"no installed model gives {capability.name}")
        self.asked.append(subject)
        ref = ModelRef(capability.name, "0" * 16, Provenance.PULLED)
        if isinstance(subject, View):
            return Inference(FOUND, ref)
        if self._places is not None:
            raise self._places
        return Inference(Place(f"Town {subject.latitude:.0f}", "", "XX", 1.0), ref)

    async def infer_all(self, capability: Any, subjects: Any) -> list[Inference[Any]]:
        return [await self.infer(capability, subject) for subject in subjects]


async def run(scene: Scene, **params: Any) -> Answer[GeolocateResult]:
    operation = Geolocate()
    return await operation.run(scene, operation.Params.model_validate(params), None)  # type: ignore[arg-type]


async def test_five_candidates_with_their_places(cup: bytes) -> None:
    scene = Scene(cup)
    answer = await run(scene)
    assert answer.data is not None
    assert [candidate.lat for candidate in answer.data.candidates] == [40, 41, 42, 43, 44]
    assert [candidate.lon for candidate in answer.data.candidates] == [0, -1, -2, -3, -4]
    assert answer.data.candidates[0].probability == pytest.approx(0.1)
    assert answer.data.candidates[3].place == "Town 43, XX"
    assert answer.model is not None
    assert answer.model.name == "geolocation"
    assert answer.warnings == ()
    assert scene.asked[0] == View(scene.picture), "the whole picture is looked at"


async def test_the_uncertainty_is_of_all_places_whatever_is_listed(cup: bytes) -> None:
    for top_k in (1, 10):
        answer = await run(Scene(cup), top_k=top_k)
        assert answer.data is not None
        assert len(answer.data.candidates) == top_k
        assert answer.data.uncertainty.model_dump() == {
            "clusters": [{"lat": 48.8566, "lon": 2.3522, "mass": 0.75, "radius_km": 123.5}],
            "radius_50_km": 12.3,
            "radius_90_km": 678.9,
        }


async def test_only_listed_places_are_named(cup: bytes) -> None:
    scene = Scene(cup)
    await run(scene, top_k=2)
    assert scene.asked[1:] == [Coordinate(40, 0), Coordinate(41, -1)]


@pytest.mark.parametrize("top_k", [0, -1, 101, 100_000])
def test_top_k_out_of_range_is_refused_in_the_librarys_words(top_k: int) -> None:
    with pytest.raises(ValidationError, match=f"top_k must be between 1 and 100, got {top_k}"):
        Geolocate.Params.model_validate({"top_k": top_k})
    schema = Geolocate.Params.model_json_schema()["properties"]["top_k"]
    assert (schema["minimum"], schema["maximum"], schema["default"]) == (1, 100, 5)


async def test_without_a_model_of_places_the_names_are_null_and_it_is_said(cup: bytes) -> None:
    answer = await run(Scene(cup, able=(GEOLOCATION,)))
    assert answer.data is not None
    assert [candidate.place for candidate in answer.data.candidates] == [None] * 5
    assert answer.warnings == ("candidates have no place names: no installed model gives places",)


@pytest.mark.parametrize(
    "error", [ModelUnavailable("not here"), ModelLoading("not yet"), Overloaded("full", retry_after_s=1)]
)
async def test_names_that_cannot_be_had_now_cost_only_themselves(error: SightlineError, cup: bytes) -> None:
    answer = await run(Scene(cup, places=error))
    assert answer.data is not None
    assert {candidate.place for candidate in answer.data.candidates} == {None}
    assert answer.warnings == (f"candidates have no place names: {error}",)


async def test_time_that_ran_out_is_no_answer(cup: bytes) -> None:
    with pytest.raises(DeadlineExceeded):
        await run(Scene(cup, places=DeadlineExceeded("too late")))


async def test_without_the_model_there_is_no_answer(cup: bytes) -> None:
    with pytest.raises(ModelUnavailable, match="geolocation"):
        await run(Scene(cup, able=(PLACES,)))
