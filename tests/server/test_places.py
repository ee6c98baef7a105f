"""``GET /v1/places`` over real connections."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sightline.server.app import create_app
from sightline.settings import Settings

pytestmark = pytest.mark.usefixtures("installed_places")


def test_the_nearest_town_and_how_far_it_is(client) -> None:
    response = client.get("/v1/places", params={"lat": 64.42, "lon": -173.23})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["place"] == {
        "label": "Provideniya, Chukotka, RU",
        "name": "Provideniya",
        "region": "Chukotka",
        "country_code": "RU",
        "distance_km": pytest.approx(0.4, abs=0.1),
    }
    assert (body["latitude"], body["longitude"]) == (64.42, -173.23)


def test_a_country_without_regions_has_none_in_its_label(client) -> None:
    place = client.get("/v1/places", params={"lat": 41.9022, "lon": 12.4533}).json()["place"]
    assert (place["label"], place["region"]) == ("Vatican City, VA", "")


def test_the_data_is_attributed_and_identified(client) -> None:
    body = client.get("/v1/places", params={"lat": 0, "lon": 0}).json()
    assert body["licence"] == "CC-BY-4.0"
    assert body["source"] == "https://www.geonames.org"
    listed = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert body["model"]["fingerprint"] == listed[body["model"]["name"]]["fingerprint"]


@pytest.mark.parametrize(("lat", "lon"), [(90, 180), (-90, -180), (0, 180), (0, -180)])
def test_the_ends_of_the_ranges_are_places(client, lat: float, lon: float) -> None:
    assert client.get("/v1/places", params={"lat": lat, "lon": lon}).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["lat=nan&lon=0", "lat=0&lon=inf", "lat=90.001&lon=0", "lat=0&lon=-180.5", "lat=0", "lon=0", "",
     "lat=north&lon=0", "lat=&lon=0", "lat=1e400&lon=0"],
)  # fmt: skip
def test_what_is_no_coordinate_is_a_problem(client, query: str) -> None:
    response = client.get(f"/v1/places?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "invalid_request"
    assert "lat" in problem["detail"] or "lon" in problem["detail"]


def test_without_the_data_it_says_how_to_get_it(tmp_path) -> None:
    settings = Settings(models_dir=tmp_path / "empty", offline=True)
    with TestClient(create_app(settings)) as client:
        response = client.get("/v1/places", params={"lat": 0, "lon": 0})
    assert response.status_code == 503
    assert response.json()["code"] == "model_unavailable"
    assert "sightline models pull places" in response.json()["detail"]


def test_the_api_key_is_asked_for(serve) -> None:
    client = serve(api_keys=("a-key-that-is-long-enough-for-us",))
    assert client.get("/v1/places", params={"lat": 0, "lon": 0}).status_code == 401


def test_it_is_in_the_openapi_document(client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/places"]["get"]
    assert {parameter["name"]: parameter["required"] for parameter in operation["parameters"]} == {
        "lat": True,
        "lon": True,
    }
    assert operation["responses"]["422"]["content"].keys() == {"application/problem+json"}
