"""``identify_species`` on ``/v1``, over a real server with real graphs and rules."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from sightline.server.app import create_app
from sightline.settings import Settings
from sightline.taxa import ANIMAL, BLANK, HUMAN

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
LEOPARD = "2;mammalia;carnivora;felidae;panthera;pardus;leopard"
ZEBRA = "3;mammalia;perissodactyla;equidae;equus;quagga;plains zebra"
OSTRICH = "4;aves;struthioniformes;struthionidae;struthio;camelus;common ostrich"
FELIDAE = "5;mammalia;carnivora;felidae;;;cat family"
MAMMALIA = "6;mammalia;;;;;mammal"

LION_BOX = ("animal", 0.9, (8, 8, 24, 24), "red")
MAMMAL_BOX = ("animal", 0.4, (32, 0, 48, 16), "green")
PERSON_BOX = ("human", 0.75, (48, 16, 64, 32), "red")

NAIROBI = {"latitude": -1.286, "longitude": 36.817}
SACRAMENTO = {"latitude": 38.58, "longitude": -121.49}

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def client(wildlife_dir: Path, detector_plugin: Path, server_at: Any) -> Iterator[httpx2.Client]:
    settings = Settings(
        models_dir=wildlife_dir,
        plugins_dir=detector_plugin,
        offline=True,
        allow_random_weights=True,
        precision="f32",
        lame_duck_s=0,
    )
    with (
        server_at(settings) as url,
        httpx2.Client(base_url=url, timeout=20, trust_env=False) as client,
    ):
        yield client


def post(client: httpx2.Client, image: bytes, **params: Any) -> httpx2.Response:
    task = {"id": "animals", "operation": "identify_species", "params": params}
    return client.post("/v1/analyze", files={"image": image}, data={"tasks": json.dumps([task])})


@pytest.fixture
def ask(client: httpx2.Client) -> Ask:
    """The result of one task on one photo."""

    def answer(image: bytes, **params: Any) -> Any:
        response = post(client, image, **params)
        assert response.status_code == 200, response.text
        result = response.json()["images"][0]["results"]["animals"]
        assert result["status"] == "ok", result
        return result

    return answer


def close(number: float) -> Any:
    return pytest.approx(number, abs=1e-5)


# -- what is in the photo ----------------------------------------------------------------------------------


def test_every_detected_animal_has_box_name_score_and_reason(ask: Ask, photo) -> None:
    result = ask(photo(MAMMAL_BOX, LION_BOX, PERSON_BOX))
    assert result["model"]["name"] == "speciesnet-v4.0.3a"
    assert result["region"] is None
    assert "warnings" not in result
    data = result["data"]
    assert data["version"] == "v4.0.3a"
    lion, person, mammal = data["detections"]
    assert (lion["box"], lion["label"], lion["confidence"]) == ([8, 8, 24, 24], "animal", 0.9)
    assert lion["prediction"] == {
        "name": "Panthera leo",
        "common_name": "lion",
        "level": "species",
        "taxonomy": {
            "class": "mammalia",
            "order": "carnivora",
            "family": "felidae",
            "genus": "panthera",
            "species": "leo",
        },
        "release_label": LION,
        "score": close(0.9),
        "reason": "classifier",
    }
    assert (person["label"], person["prediction"]["release_label"]) == ("human", HUMAN)
    assert (person["prediction"]["score"], person["prediction"]["reason"]) == (0.75, "detector")
    assert mammal["prediction"] == {
        "name": "Mammalia",
        "common_name": "mammal",
        "level": "class",
        "taxonomy": {"class": "mammalia"},
        "release_label": MAMMALIA,
        "score": close(0.30 + 0.20 + 0.35 + 0.04),  # of the first five
        "reason": "classifier+rollup_to_class",
    }


def test_each_comes_with_the_classifiers_first_five(ask: Ask, photo) -> None:
    lion, mammal = ask(photo(LION_BOX, MAMMAL_BOX))["data"]["detections"]
    assert [each["name"] for each in lion["classifications"]] == [
        "Panthera leo",
        "Panthera pardus",
        "Equus quagga",
        "Struthio camelus",
        "Felidae",
    ]
    assert [each["release_label"] for each in mammal["classifications"]][:2] == [ZEBRA, LION]
    assert [each["score"] for each in mammal["classifications"]] == [
        close(score) for score in (0.35, 0.30, 0.20, 0.05, 0.04)
    ]
    assert all("reason" not in each for each in lion["classifications"])


def test_the_whole_photo_is_judged_by_its_surest_detection(ask: Ask, photo) -> None:
    data = ask(photo(MAMMAL_BOX, LION_BOX))["data"]
    assert data["prediction"] == data["detections"][0]["prediction"]
    assert data["classifications"] == data["detections"][0]["classifications"]


def test_a_photo_without_detections_is_judged_as_a_whole(ask: Ask, photo) -> None:
    data = ask(photo())["data"]
    assert data["detections"] == []
    assert data["prediction"] == {
        "name": "blank",
        "common_name": "blank",
        "level": None,
        "taxonomy": {},
        "release_label": BLANK,
        "score": close(0.97),
        "reason": "classifier",
    }


@pytest.mark.parametrize(
    ("confidence", "params", "listed"),
    [
        (0.0999, {}, 0),
        (0.1, {}, 1),
        (0.05, {"min_confidence": 0.05}, 1),
        (0.05, {"min_confidence": 0}, 1),
        (0.5, {"min_confidence": 0.51}, 0),
        (1.0, {"min_confidence": 1}, 1),
    ],
)
def test_what_the_detector_is_not_sure_enough_of_is_not_listed(
    ask: Ask, photo, confidence, params, listed
) -> None:
    data = ask(photo(("animal", confidence, (8, 8, 24, 24), "red")), **params)["data"]
    assert len(data["detections"]) == listed
    # ... but it still tells where to look for the photo as a whole.
    assert data["prediction"]["release_label"] == LION


def test_a_box_at_the_edge_of_the_photo_is_cut_like_any_other(ask: Ask, photo) -> None:
    data = ask(photo(("animal", 0.9, (0, 0, 64, 32), "red"), ("animal", 0.8, (63, 31, 64, 32), "red")))[
        "data"
    ]
    assert [each["prediction"]["name"] for each in data["detections"]] == ["Panthera leo", "Panthera leo"]


def test_given_detections_take_the_detectors_place(ask: Ask, photo) -> None:
    """The lion in the picture would be found; only the given box counts, and comes back as written."""
    lion = {"label": "animal", "conf": 0.4, "bbox": [0.123456789, 0.25, 0.25, 0.5]}
    person = {"label": "human", "conf": 0.75, "bbox": [0.0, 0.0, 0.0, 1.0]}
    image = photo(LION_BOX)
    result = ask(image, detections=[lion, person], format="speciesnet-5")
    assert [each["bbox"] for each in result["data"]["detections"]] == [person["bbox"], lion["bbox"]]
    assert "megadetector-v5a" not in [each["name"] for each in result["models"]]
    data = ask(image, detections=[lion])["data"]
    assert [each["prediction"]["name"] for each in data["detections"]] == ["Panthera leo"]
    assert data["detections"][0]["box"] == [7, 8, 23, 24]
    assert ask(image, detections=[])["data"]["detections"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": "bird"},
        {"conf": 1.1},
        {"conf": "NaN"},
        {"bbox": [0, 0, 1]},
        {"bbox": [0, 0, 1, 1.5]},
        {"bbox": [-0.1, 0, 1, 1]},
        {"more": 1},
    ],
)
def test_given_detections_are_checked(client: httpx2.Client, photo, wrong: dict[str, Any]) -> None:
    box = {"label": "animal", "conf": 0.4, "bbox": [0, 0, 1, 1]} | wrong
    response = post(client, photo(), detections=[box])
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_parameters"


@pytest.mark.parametrize(("most", "listed"), [(None, 2), (0, 0), (1, 1), (5, 2)])
def test_the_surest_detections_are_classified_up_to_a_number(ask: Ask, photo, most, listed) -> None:
    data = ask(photo(MAMMAL_BOX, LION_BOX), max_classifications=most)["data"]
    assert len(data["detections"]) == listed
    assert data["prediction"]["release_label"] == LION


# -- where it was taken ------------------------------------------------------------------------------------


def test_without_a_country_nothing_is_ruled_out(ask: Ask, photo) -> None:
    data = ask(photo(LION_BOX))["data"]
    assert data["origin"] == {
        "country": None,
        "country_name": None,
        "country_source": "none",
        "admin1_region": None,
        "admin1_source": "none",
        "nearest_town": None,
        "nearest_town_km": None,
    }


def test_what_does_not_live_in_the_country_is_rolled_up(ask: Ask, photo) -> None:
    data = ask(photo(LION_BOX), country="NOR")["data"]
    for verdict in (data["detections"][0]["prediction"], data["prediction"]):
        assert verdict["release_label"] == FELIDAE
        assert verdict["reason"] == "classifier+geofence+rollup_to_family"
        assert verdict["score"] == close(0.95)
    origin = data["origin"]
    assert (origin["country"], origin["country_name"], origin["country_source"]) == ("NOR", "Norway", "given")


def test_what_lives_there_is_named(ask: Ask, photo) -> None:
    data = ask(photo(LION_BOX), country="KEN")["data"]
    assert data["detections"][0]["prediction"]["release_label"] == LION


@pytest.mark.parametrize(("region", "label"), [("TX", LION), ("CA", FELIDAE)])
def test_a_state_is_heeded(ask: Ask, photo, region: str, label: str) -> None:
    data = ask(photo(LION_BOX), country="USA", admin1_region=region)["data"]
    assert data["detections"][0]["prediction"]["release_label"] == label
    assert (data["origin"]["admin1_region"], data["origin"]["admin1_source"]) == (region, "given")


def test_coordinates_tell_the_country_and_the_answer_says_so(ask: Ask, photo) -> None:
    result = ask(photo(LION_BOX), **NAIROBI)
    origin = result["data"]["origin"]
    assert (origin["country"], origin["country_source"]) == ("KEN", "from_coordinates")
    assert (origin["admin1_region"], origin["admin1_source"]) == (None, "none")
    assert origin["nearest_town"].startswith("Nairobi")
    assert origin["nearest_town_km"] < 5
    assert "warnings" not in result


def test_coordinates_tell_the_state(ask: Ask, photo) -> None:
    data = ask(photo(LION_BOX), **SACRAMENTO)["data"]
    origin = data["origin"]
    assert (origin["country"], origin["admin1_region"]) == ("USA", "CA")
    assert (origin["country_source"], origin["admin1_source"]) == ("from_coordinates", "from_coordinates")
    assert data["detections"][0]["prediction"]["reason"] == "classifier+geofence+rollup_to_family"


def test_a_given_country_is_completed_by_the_state_of_the_coordinates(ask: Ask, photo) -> None:
    origin = ask(photo(LION_BOX), country="USA", **SACRAMENTO)["data"]["origin"]
    assert (origin["country"], origin["country_source"]) == ("USA", "given")
    assert (origin["admin1_region"], origin["admin1_source"]) == ("CA", "from_coordinates")


def test_a_given_country_wins_over_coordinates_elsewhere_with_a_warning(ask: Ask, photo) -> None:
    result = ask(photo(LION_BOX), country="NOR", **NAIROBI)
    origin = result["data"]["origin"]
    assert (origin["country"], origin["country_source"]) == ("NOR", "given")
    (warning,) = result["warnings"]
    assert "Nairobi" in warning
    assert "NOR was used" in warning


def test_a_given_state_wins_over_coordinates_elsewhere_with_a_warning(ask: Ask, photo) -> None:
    result = ask(photo(LION_BOX), country="USA", admin1_region="TX", **SACRAMENTO)
    assert result["data"]["origin"]["admin1_region"] == "TX"
    (warning,) = result["warnings"]
    assert "California" in warning
    assert "TX was used" in warning


# -- releases ----------------------------------------------------------------------------------------------


def test_a_release_has_rules_of_its_own(ask: Ask, photo) -> None:
    result = ask(photo(LION_BOX), country="NOR", version="v4.0.1a")
    assert result["data"]["version"] == "v4.0.1a"
    assert result["model"]["name"] == "speciesnet-v4.0.1a"
    assert result["data"]["detections"][0]["prediction"]["release_label"] == LION


def test_random_weights_are_said_of_every_model(ask: Ask, photo) -> None:
    warnings = ask(photo(LION_BOX), version="v4.0.1a")["warnings"]
    assert "speciesnet-v4.0.1a-ensemble has random weights: the answer means nothing" in warnings
    assert "speciesnet-v4.0.1a has random weights: the answer means nothing" in warnings


def test_a_release_that_is_not_installed_says_how_to_get_it(client, photo) -> None:
    response = post(client, photo(LION_BOX), version="v4.0.2a")
    assert response.status_code == 503
    assert response.json()["code"] == "model_unavailable"
    assert "sightline models pull speciesnet-v4.0.2a" in response.json()["detail"]


def test_a_release_that_does_not_exist_is_the_callers_mistake(client, photo) -> None:
    result = post(client, photo(LION_BOX), version="v5").json()["images"][0]["results"]["animals"]
    assert result["status"] == "error"
    assert result["error"]["code"] == "unknown_model"
    assert "v4.0.1a, v4.0.2a, v4.0.3a" in result["error"]["message"]


# -- formats -----------------------------------------------------------------------------------------------


def test_the_format_of_speciesnet_before_5_0_6(ask: Ask, photo) -> None:
    image = photo(LION_BOX, ("vehicle", 0.05, (0, 0, 8, 16), "green"))
    data = ask(image, format="speciesnet-4", filepath="cam/1.jpg", country="KEN", **NAIROBI)["data"]
    assert data == {
        "filepath": "cam/1.jpg",
        "country": "KEN",
        "latitude": -1.286,
        "longitude": 36.817,
        "classifications": {
            "classes": [LION, LEOPARD, ZEBRA, OSTRICH, FELIDAE],
            "scores": [close(score) for score in (0.90, 0.04, 0.02, 0.01, 0.01)],
        },
        "detections": [
            {"category": "1", "label": "animal", "conf": 0.9, "bbox": [0.125, 0.25, 0.25, 0.5]},
            {"category": "3", "label": "vehicle", "conf": 0.05, "bbox": [0.0, 0.0, 0.125, 0.5]},
        ],
        "prediction": LION,
        "prediction_score": close(0.9),
        "prediction_source": "classifier",
        "model_version": "4.0.3a",
    }
    assert list(data) == [
        "filepath", "country", "latitude", "longitude", "classifications", "detections", "prediction",
        "prediction_score", "prediction_source", "model_version",
    ]  # fmt: skip


def test_the_format_of_speciesnet_5_0_6(ask: Ask, photo) -> None:
    image = photo(LION_BOX, PERSON_BOX, ("vehicle", 0.05, (0, 0, 8, 16), "green"))
    data = ask(image, format="speciesnet-5", country="USA", admin1_region="CA")["data"]
    assert data == {
        "filepath": hashlib.sha256(image).hexdigest(),
        "country": "USA",
        "admin1_region": "CA",
        "detections": [
            {
                "category": "1",
                "label": "animal",
                "conf": 0.9,
                "bbox": [0.125, 0.25, 0.25, 0.5],
                "raw_classifications": {"classes": [LION, LEOPARD], "scores": [close(0.90), close(0.04)]},
                "processed_classification": {
                    "class": FELIDAE,
                    "score": close(0.95),
                    "source": "classifier+geofence+rollup_to_family",
                },
            },
            {
                "category": "2",
                "label": "human",
                "conf": 0.75,
                "bbox": [0.75, 0.5, 0.25, 0.5],
                "raw_classifications": {"classes": [LION, LEOPARD], "scores": [close(0.90), close(0.04)]},
                "processed_classification": {"class": HUMAN, "score": 0.75, "source": "detector"},
            },
            {"category": "3", "label": "vehicle", "conf": 0.05, "bbox": [0.0, 0.0, 0.125, 0.5]},
        ],
        "model_version": "4.0.3a",
    }


def test_a_photo_of_nothing_in_both_formats(ask: Ask, photo) -> None:
    image = photo()
    four, five = (ask(image, format=name)["data"] for name in ("speciesnet-4", "speciesnet-5"))
    assert four["detections"] == five["detections"] == []
    assert (four["prediction"], four["prediction_source"]) == (BLANK, "classifier")
    assert set(five) == {"filepath", "detections", "model_version"}


def test_an_unsure_detection_of_something_blank_is_blank(ask: Ask, photo) -> None:
    data = ask(photo(("animal", 0.15, (8, 8, 24, 24), "blue")), format="speciesnet-4")["data"]
    assert (data["prediction"], data["prediction_score"]) == (BLANK, close(0.97))
    sure = ask(photo(("animal", 0.95, (8, 8, 24, 24), "blue")), format="speciesnet-4")["data"]
    assert (sure["prediction"], sure["prediction_source"]) == (ANIMAL, "detector")


# -- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"country": "Kenya"}, "KEN for Kenya"),
        ({"country": "ke"}, "KEN for Kenya"),
        ({"country": "XX"}, "'XX' is none"),
        ({"country": ""}, "three capital letters"),
        ({"country": 404}, "country"),
        ({"country": "USA", "admin1_region": "California"}, "CA for California"),
        ({"country": "USA", "admin1_region": "XX"}, "USA has no 'XX'"),
        ({"admin1_region": "CA"}, "identify_species: parameters: admin1_region needs country"),
        ({"latitude": 1.0}, "latitude and longitude go together"),
        ({"longitude": 1.0}, "latitude and longitude go together"),
        ({"latitude": 91, "longitude": 0}, "latitude"),
        ({"latitude": 0, "longitude": 180.5}, "longitude"),
        ({"min_confidence": 1.5}, "min_confidence"),
        ({"format": "coco"}, "speciesnet-4"),
        ({"species": "lion"}, "species"),
    ],
)
def test_bad_parameters_are_refused_with_what_would_be_right(client, photo, params, complaint) -> None:
    response = post(client, photo(LION_BOX), **params)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_parameters"
    assert complaint in response.json()["detail"]


def test_one_image_by_its_own_route_with_parameters_in_the_query(client, photo) -> None:
    response = client.post(
        "/v1/operations/identify_species",
        params={"country": "NOR", "min_confidence": "0.2"},
        content=photo(LION_BOX),
        headers={"content-type": "image/png"},
    )
    assert response.status_code == 200, response.text
    data = response.json()["images"][0]["results"]["identify_species"]["data"]
    assert data["detections"][0]["prediction"]["name"] == "Felidae"


def test_a_damaged_photo_fails_alone(client, photo) -> None:
    good = photo(LION_BOX)
    tasks = '["identify_species"]'
    files = [("image", good), ("image", good[: len(good) // 2]), ("image", b"no image")]
    entries = client.post("/v1/analyze", files=files, data={"tasks": tasks}).json()["images"]
    assert entries[0]["results"]["identify_species"]["status"] == "ok"
    assert [entry["error"]["code"] for entry in entries[1:]] == ["invalid_image", "unsupported_image"]


def test_it_is_in_the_openapi_document_with_all_three_shapes(client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    shapes = [each["$ref"].rpartition("/")[2] for each in schemas["IdentifySpeciesData"]["anyOf"]]
    assert shapes == ["SpeciesReport", "SpeciesNet4Prediction", "SpeciesNet5Prediction"]
    assert set(shapes) <= set(schemas)
    assert "class" in schemas["SpeciesNetProcessed"]["properties"]


def test_the_old_contract_gets_the_same_object(client, photo) -> None:
    tasks = '[{"operation_id": "it", "type": "identify_species", "params": {"format": "speciesnet-4"}}]'
    answer = client.post(
        "/analyze_image_upload/", files={"image_file": photo(LION_BOX)}, data={"tasks_json": tasks}
    ).json()
    assert answer["results"]["it"]["data"]["prediction"] == LION


# -- without the model of places ---------------------------------------------------------------------------


@pytest.fixture
def placeless(wildlife_dir: Path, detector_plugin: Path, tmp_path: Path) -> Iterator[TestClient]:
    """The same without places."""
    for model in ("speciesnet-v4.0.3a", "speciesnet-v4.0.3a-ensemble"):
        shutil.copytree(wildlife_dir / model, tmp_path / "store" / model)
    settings = Settings(
        models_dir=tmp_path / "store", plugins_dir=detector_plugin, offline=True, precision="f32"
    )
    with TestClient(create_app(settings)) as client:
        yield client


def test_coordinates_without_places_are_a_warning(placeless: TestClient, photo) -> None:
    result = post(placeless, photo(LION_BOX), **NAIROBI).json()["images"][0]["results"]["animals"]
    assert result["status"] == "ok"
    assert result["data"]["origin"]["country_source"] == "none"
    (warning,) = result["warnings"]
    assert "no country is known and none was ruled out" in warning
    assert "sightline models pull places" in warning


def test_a_given_country_needs_no_places(placeless: TestClient, photo) -> None:
    result = post(placeless, photo(LION_BOX), country="NOR").json()["images"][0]["results"]["animals"]
    assert result["data"]["detections"][0]["prediction"]["name"] == "Felidae"
    assert "warnings" not in result
