"""The atlas-backend contract: its examples, its shapes, its refusals, and what guards it.

Networks and the services of others are stand-ins; everything between the socket and them is real.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.server.routes.compat.atlas import MAX_IMAGE_BYTES, display_name
from sightline.server.routes.compat.atlas_questions import (
    LABEL_FIELD,
    LABEL_FIELDS,
    ImageAnswer,
    grouped,
    label_of,
)
from sightline.taxa import ANIMAL, BLANK, HUMAN, UNKNOWN, VEHICLE

# A detector that finds one deer, a classifier and rules that know what it is. Their names come before those
# of the real ones, so that they are the first with their capabilities.
WILDLIFE = """
from sightline.models import ModelCard, ModelDefinition, Runs
from sightline.operations.identify_species.params import NEWEST
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.species import SPECIES, SPECIES_ENSEMBLE, SpeciesScores, SpeciesVerdict
from sightline.types import Box, Detection

LABELS = (
    "1;mammalia;artiodactyla;cervidae;odocoileus;virginianus;white-tailed deer",
    "2;mammalia;artiodactyla;cervidae;odocoileus;;odocoileus species",
    "3;mammalia;artiodactyla;cervidae;;;cervidae family",
    "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank",
    "e2895ed5-780b-48f6-8a11-9e27cb594511;;;;;;vehicle",
)
SCORES = (0.97, 0.02, 0.005, 0.003, 0.002)

class Finder:
    def prepare(self, view):
        return view.pixels().shape

    def infer(self, items):
        return [[Detection(Box(12, 33, 68, 74), 0.92, "animal"), Detection(Box(0, 0, 50, 50), 0.05, "human")]
                for _ in items]

class Classifier:
    def prepare(self, view):
        return view.width

    def infer(self, items):
        return [SpeciesScores(LABELS, SCORES) for _ in items]

class Rules:
    def prepare(self, request):
        return request

    def infer(self, items):
        verdict = SpeciesVerdict(LABELS[0], SCORES[0], "classifier")
        return [[verdict for _ in each.sightings] for each in items]

def definition(name, capability, model, **card):
    return ModelDefinition(
        ModelCard(
            name=name, capabilities=frozenset({capability}), description="d", licence="CC0-1.0",
            homepage="https://example.org", preprocessing="p", parameters=0, multiply_adds=0, **card,
        ),
        lambda files, graphs: model(),
    )

MODELS = (
    definition("a-finder", ANIMAL_BOXES, Finder),
    definition("a-classifier", SPECIES, Classifier, space=NEWEST),
    definition("a-rules", SPECIES_ENSEMBLE, Rules, space=NEWEST, runs=Runs.IN_LOOP),
)
"""


def png(width: int = 100, height: int = 100, grey: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


def upload(data: bytes, name: str = "camera-trap.jpg", kind: str = "image/jpeg") -> tuple[str, bytes, str]:
    return (name, data, kind)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "wildlife.py").write_text(WILDLIFE)
    return tmp_path


@pytest.fixture
def wildlife(serve: Callable[..., httpx2.Client], plugins: Path) -> httpx2.Client:
    return serve(plugins_dir=plugins)


# -- which animal ------------------------------------------------------------------------------------------

SPECIESNET = {
    "prediction": "odocoileus_virginianus",
    "prediction_display_name": "odocoileus_virginianus",
    "prediction_score": 0.97,
    "top_classes": [
        {"label_raw": "odocoileus_virginianus", "display_name": "odocoileus_virginianus", "score": 0.97},
        {"label_raw": "odocoileus", "display_name": "odocoileus", "score": 0.02},
        {"label_raw": "cervidae", "display_name": "cervidae", "score": 0.005},
        {"label_raw": "blank", "display_name": "blank", "score": 0.003},
        {"label_raw": "vehicle", "display_name": "vehicle", "score": 0.002},
    ],
    "detections": [
        {
            "label": "animal",
            "conf": 0.92,
            "bbox": pytest.approx([0.12, 0.33, 0.56, 0.41], abs=1e-6),
            "category": "1",
        },
        {
            "label": "human",
            "conf": 0.05,
            "bbox": pytest.approx([0, 0, 0.5, 0.5], abs=1e-6),
            "category": "2",
        },
    ],
    # Beside the README's fields, as that service sent them.
    "prediction_source": "classifier",
    "model_version": "4.0.3a",
}


def test_the_example_of_uploadfile(wildlife: httpx2.Client) -> None:
    data = png()
    response = wildlife.post("/uploadfile/", files={"file": upload(data)})
    assert response.status_code == 200
    assert response.json() == {
        "filename": "camera-trap.jpg",
        "content_size": len(data),
        "speciesnet": SPECIESNET,
    }
    assert list(response.json()["speciesnet"]) == list(SPECIESNET)


def test_the_example_of_analyze(wildlife: httpx2.Client) -> None:
    data = png()
    response = wildlife.post(
        "/analyze/", data={"prompt": "Summarize this animal"}, files={"file": upload(data)}
    )
    assert response.status_code == 200
    assert response.json() == {
        "prompt": "Summarize this animal",
        "filename": "camera-trap.jpg",
        "content_size": len(data),
        "speciesnet": SPECIESNET,
    }


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (
            "1;mammalia;artiodactyla;cervidae;odocoileus;virginianus;white-tailed deer",
            "odocoileus_virginianus",
        ),
        ("1;mammalia;artiodactyla;cervidae;odocoileus;;odocoileus species", "odocoileus"),
        ("1;mammalia;artiodactyla;cervidae;;;cervidae family", "cervidae"),
        ("1;aves;;;;;bird", "aves"),
        (BLANK, "blank"),
        (ANIMAL, "animal"),
        (HUMAN, "homo_sapiens"),
        (VEHICLE, "vehicle"),
        (UNKNOWN, "no_cv_result"),
    ],
)
def test_names_are_written_as_in_the_contract(label: str, name: str) -> None:
    assert display_name(label) == name


SPECIES_ROUTES = [("/uploadfile/", {}), ("/analyze/", {"prompt": "What is it?"})]
on_both = pytest.mark.parametrize(("path", "fields"), SPECIES_ROUTES)


@on_both
@pytest.mark.parametrize(
    ("file", "status", "message"),
    [
        (upload(b"just words", "notes.txt", "text/plain"), 415, "'text/plain' is not an image's media type"),
        (upload(png(), "photo.jpg", "application/octet-stream"), 415, "is not an image's media type"),
        (upload(b"%PDF-1.7 not an image", "photo.jpg"), 400, "not an image in an accepted format"),
        (upload(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "image/svg+xml"), 400, "not an image"),
        (upload(b"", "photo.jpg"), 400, "empty"),
        (upload(b"\xff\xd8\xff", "photo.jpg"), 400, "JPEG"),
        (upload(png() + b"\0" * (MAX_IMAGE_BYTES + 1 - len(png())), "p.png", "image/png"), 413, "5 MB"),
    ],
    ids=["text", "no type", "pdf", "svg", "empty", "stump", "5 MB + 1"],
)  # fmt: skip
def test_what_is_no_image_is_refused(
    client: httpx2.Client, path: str, fields: dict[str, str], file: Any, status: int, message: str
) -> None:
    response = client.post(path, data=fields, files={"file": file})
    assert response.status_code == status
    assert message in response.json()["detail"]


def test_five_megabytes_are_taken(wildlife: httpx2.Client) -> None:
    data = png()
    data += b"\0" * (MAX_IMAGE_BYTES - len(data))
    response = wildlife.post("/uploadfile/", files={"file": upload(data, "p.png", "image/png")})
    assert response.status_code == 200
    assert response.json()["content_size"] == 5 * 1024 * 1024


@on_both
def test_a_damaged_image_is_400(
    wildlife: httpx2.Client, cup: bytes, path: str, fields: dict[str, str]
) -> None:
    response = wildlife.post(path, data=fields, files={"file": upload(cup[: len(cup) // 2])})
    assert (response.status_code, "truncated" in response.json()["detail"]) == (400, True)


def test_a_body_far_too_large_is_not_even_read(client: httpx2.Client) -> None:
    response = client.post("/uploadfile/", files={"file": upload(b"\0" * (7 * 1024 * 1024))})
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("path", "fields", "files", "missing"),
    [
        ("/uploadfile/", {}, None, "'file'"),
        ("/uploadfile/", {"file": "text"}, None, "'file'"),
        ("/uploadfile/", {}, {"image": upload(png())}, "'file'"),
        ("/analyze/", {"prompt": "?"}, None, "'file'"),
        ("/analyze/", {}, {"file": upload(png())}, "'prompt'"),
        ("/analyze/", {"prompt": " "}, {"file": upload(png())}, "'prompt'"),
        ("/gemini/analyze/", {"prompt": "?"}, None, "'files'"),
        ("/gemini/analyze/", {}, {"files": upload(png())}, "'prompt'"),
    ],
)
def test_missing_fields_are_422(
    client: httpx2.Client, path: str, fields: dict[str, str], files: Any, missing: str
) -> None:
    response = client.post(path, data=fields, files=files)
    assert response.status_code == 422
    assert f"in the field {missing}" in response.json()["detail"]


def test_an_empty_body_is_422(client: httpx2.Client) -> None:
    assert client.post("/uploadfile/").status_code == 422
    assert (
        client.post("/uploadfile/", content=png(), headers={"Content-Type": "image/png"}).status_code == 422
    )


def test_no_weights_are_503_and_say_how_to_get_them(client: httpx2.Client) -> None:
    response = client.post("/uploadfile/", files={"file": upload(png())})
    assert response.status_code == 503
    assert "megadetector" in response.json()["detail"]


def test_the_release_is_a_setting(serve: Callable[..., httpx2.Client], plugins: Path) -> None:
    client = serve(plugins_dir=plugins, speciesnet_version="v4.0.1a")
    response = client.post("/uploadfile/", files={"file": upload(png())})
    assert response.status_code == 503
    assert "sightline models pull speciesnet-v4.0.1a" in response.json()["detail"]


# -- questions ---------------------------------------------------------------------------------------------


def answers_by_width(labels: dict[int, Any]) -> Callable[[Any], str]:
    return lambda received: json.dumps(labels[received.images[0].width])


def ask(client: httpx2.Client, *widths: int, **fields: str) -> httpx2.Response:
    files = [("files", upload(png(width), f"camera-trap-{width}.jpg")) for width in widths]
    return client.post(
        "/gemini/analyze/", data={"prompt": "Extract recipe instructions", **fields}, files=files
    )


def test_the_example_of_gemini_analyze(asking: httpx2.Client, gemini_service: Any) -> None:
    schema = '{"type":"object","properties":{"recipe_name":{"type":"string"}}}'
    gemini_service.says_of(answers_by_width({1: {"recipe_name": "soup"}, 2: {"recipe_name": "stew"}}))
    response = ask(asking, 1, 2, schema_json=schema)
    assert response.status_code == 200
    sizes = [len(png(1)), len(png(2))]
    body = response.json()
    for group in body["groups"]:
        assert group.pop("group") == group["category_label"]
        assert group.pop("items") == group["images"]
    assert body == {
        "prompt": "Extract recipe instructions",
        "schema": json.loads(schema),
        "gemini_model": "gemini-of-the-test",
        "total_images": 2,
        "image_count": 2,
        "group_count": 2,
        "error_count": 0,
        "groups": [
            {
                "category_label": "camera-trap-1.jpg",
                "grouped_by": "image",
                "count": 1,
                "images": [
                    {
                        "index": 0,
                        "filename": "camera-trap-1.jpg",
                        "content_size": sizes[0],
                        "response": {"recipe_name": "soup"},
                    }
                ],
            },
            {
                "category_label": "camera-trap-2.jpg",
                "grouped_by": "image",
                "count": 1,
                "images": [
                    {
                        "index": 1,
                        "filename": "camera-trap-2.jpg",
                        "content_size": sizes[1],
                        "response": {"recipe_name": "stew"},
                    }
                ],
            },
        ],
        "errors": [],
        "metadata": {
            "model": "gemini-of-the-test",
            "schema": "request",
            "input_tokens": 22,
            "output_tokens": 10,
        },
    }
    for received in gemini_service.received:
        assert received.text == "Extract recipe instructions"
        assert received.body["generationConfig"]["responseJsonSchema"] == json.loads(schema)


def test_images_of_one_kind_are_one_group(asking: httpx2.Client, gemini_service: Any) -> None:
    gemini_service.says_of(
        answers_by_width(
            {
                1: {"category_label": "Deer", "analysis": "one"},
                2: {"category_label": "fox", "analysis": "two"},
                3: {"category_label": " deer ", "analysis": "three"},
            }
        )
    )
    body = ask(asking, 1, 2, 3).json()
    assert [(group["category_label"], group["count"]) for group in body["groups"]] == [
        ("Deer", 2),
        ("fox", 1),
    ]
    assert [group["grouped_by"] for group in body["groups"]] == ["category_label", "category_label"]
    assert [image["index"] for image in body["groups"][0]["images"]] == [0, 2]
    assert body["groups"][0]["images"][1]["response"] == {"category_label": " deer ", "analysis": "three"}
    assert (body["image_count"], body["group_count"]) == (3, 2)


def test_without_a_schema_a_label_is_asked_for(asking: httpx2.Client, gemini_service: Any) -> None:
    gemini_service.says('{"category_label": "deer", "analysis": "yes"}')
    body = ask(asking, 1).json()
    assert body["metadata"]["schema"] == "default"
    sent = gemini_service.received[0].body["generationConfig"]["responseJsonSchema"]
    assert "category_label" in sent["required"]


def test_an_empty_schema_field_is_none(asking: httpx2.Client, gemini_service: Any) -> None:
    gemini_service.says('{"category_label": "deer", "analysis": "yes"}')
    assert ask(asking, 1, schema_json=" ").json()["metadata"]["schema"] == "default"


def test_a_schema_sent_as_a_file_is_not_passed_over(asking: httpx2.Client, gemini_service: Any) -> None:
    files = [("files", upload(png())), ("schema_json", upload(b"{}", "schema.json", "application/json"))]
    response = asking.post("/gemini/analyze/", data={"prompt": "?"}, files=files)
    assert response.status_code == 422
    assert "schema_json is text, not a file" in response.json()["detail"]
    assert gemini_service.received == []


def test_an_image_that_fails_fails_alone(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    gemini_service.says_of(lambda received: '{"category_label": "cup", "analysis": "coffee"}')
    files = [
        ("files", upload(cup, "good.jpg")),
        ("files", upload(b"no image", "bad.jpg")),
        ("files", upload(b"text", "notes.txt", "text/plain")),
        ("files", upload(cup[:5000], "half.jpg")),
        ("files", upload(cup, "also-good.jpg")),
    ]
    response = asking.post("/gemini/analyze/", data={"prompt": "?"}, files=files)
    assert response.status_code == 200
    body = response.json()
    assert [image["filename"] for image in body["groups"][0]["images"]] == ["good.jpg", "also-good.jpg"]
    assert (body["image_count"], body["error_count"]) == (5, 3)
    codes = {each["filename"]: each["error"]["code"] for each in body["errors"]}
    assert codes == {
        "bad.jpg": "invalid_request",
        "notes.txt": "unsupported_content",
        "half.jpg": "invalid_request",
    }
    assert len(gemini_service.received) == 2


def test_a_refusal_for_one_image_is_an_error_of_that_image(
    asking: httpx2.Client, gemini_service: Any
) -> None:
    def answer(received: Any) -> str:
        return "not JSON" if received.images[0].width == 2 else '{"category_label": "a", "analysis": "b"}'

    gemini_service.says_of(answer)
    body = ask(asking, 1, 2).json()
    assert [each["error"]["code"] for each in body["errors"]] == ["answer_invalid"]
    assert body["group_count"] == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(401, 502), (403, 502), (429, 429), (500, 502), (503, 429), (504, 504)]
)
def test_when_all_fail_the_request_does(
    asking: httpx2.Client, gemini_service: Any, status: int, expected: int
) -> None:
    for _ in range(2):
        gemini_service.answers({"error": {"code": status, "message": "no"}}, status, Retry_After="12")
    response = ask(asking, 1, 2)
    assert response.status_code == expected
    assert isinstance(response.json()["detail"], str)
    assert response.headers.get("retry-after") == ("12" if expected == 429 else None)


def test_when_all_images_are_bad_it_is_their_fault(asking: httpx2.Client, gemini_service: Any) -> None:
    files = [("files", upload(b"no image", f"{number}.jpg")) for number in range(3)]
    response = asking.post("/gemini/analyze/", data={"prompt": "?"}, files=files)
    assert response.status_code == 400
    assert gemini_service.received == []


@pytest.mark.parametrize(
    ("schema", "status", "message"),
    [
        ("{", 400, "schema_json: the JSON does not parse"),
        ("recipe", 400, "schema_json: the JSON does not parse"),
        ('{"a": NaN}', 400, "schema_json"),
        ("[" * 40 + "]" * 40, 400, "nested"),
        ("true", 422, "schema_json: is no JSON Schema"),
        ("[]", 422, "schema_json: is no JSON Schema"),
        ('"a text"', 422, "schema_json: is not JSON"),
        ("null", 422, "schema_json: null is no JSON Schema; leave the field out"),
        ('{"type": "recipe"}', 422, "schema_json: this is no JSON Schema"),
        ('{"$ref": "http://127.0.0.1/schema"}', 422, "may only point inside itself"),
    ],
)
def test_a_wrong_schema_is_refused_before_anything_is_sent(
    asking: httpx2.Client, gemini_service: Any, schema: str, status: int, message: str
) -> None:
    response = ask(asking, 1, schema_json=schema)
    assert response.status_code == status
    assert message in response.json()["detail"]
    assert gemini_service.received == []


def test_without_a_key_the_model_here_is_asked_and_503_says_how_to_get_it(client: httpx2.Client) -> None:
    response = ask(client, 1)
    assert response.status_code == 503
    assert "sightline models pull" in response.json()["detail"]


def test_more_images_than_a_request_takes_are_refused(asking: httpx2.Client, gemini_service: Any) -> None:
    response = ask(asking, *range(1, 18))
    assert response.status_code == 400
    assert gemini_service.received == []


def test_no_cloud_is_needed(serve: Callable[..., httpx2.Client], chat_service: Any) -> None:
    chat_service.says('{"category_label": "deer", "analysis": "local"}')
    client = serve(vlm_base_url=f"{chat_service.url}/v1", vlm_model="llava")
    body = ask(client, 1).json()
    assert body["groups"][0]["category_label"] == "deer"
    assert body["metadata"]["model"] == "llava-of-the-test"
    assert client.get("/healthz").json() == {"status": "ok"}


# -- grouping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"category_label": "deer"}, ("deer", "category_label")),
        ({"label": "fox", "category_label": "deer"}, ("deer", "category_label")),
        ({"category": "deer"}, ("deer", "category")),
        ({"label": "deer"}, ("deer", "label")),
        ({"category_label": "", "label": "deer"}, ("deer", "label")),
        ({"category_label": None, "type": "deer"}, ("deer", "type")),
        ({"category_label": "white\n tailed  deer"}, ("white tailed deer", "category_label")),
        ({"category": 3}, ("3", "category")),
        ({"category": True}, ("", "")),
        ({"category": ["deer"]}, ("", "")),
        ({"recipe_name": "soup"}, ("", "")),
        ({}, ("", "")),
        ({"species": "deer"}, ("deer", "species")),
        ({"title": "a", "cluster": "b", "name": "c"}, ("b", "cluster")),
        ({"label": "a", "species": "b"}, ("a", "label")),
        ({"results": [{"x": 1}, {"species": "deer"}]}, ("deer", "results.species")),
        ({"details": {"name": "doe"}}, ("doe", "details.name")),
        ({"details": {"name": "doe"}, "type": "deer"}, ("deer", "type")),
        ({"details": "deer", "results": [[], "deer", None]}, ("", "")),
        (["deer"], ("", "")),
        ("deer", ("", "")),
        (None, ("", "")),
    ],
)
def test_the_label_is_found(response: Any, expected: tuple[str, str]) -> None:
    assert label_of(response) == expected


JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(st.lists(st.dictionaries(st.sampled_from([*LABEL_FIELDS, "x"]), JSON, max_size=4) | JSON, max_size=8))
def test_every_answer_is_in_one_group(responses: list[Any]) -> None:
    answers = [ImageAnswer(index, f"{index}.jpg", 9, response) for index, response in enumerate(responses)]
    groups = grouped(answers)
    indices = [image["index"] for group in groups for image in group["images"]]
    assert sorted(indices) == list(range(len(responses)))
    for group in groups:
        assert group["count"] == len(group["images"])
        assert group[LABEL_FIELD]
        assert len({label_of(image["response"])[0].casefold() for image in group["images"]}) == 1


# -- truncated photos --------------------------------------------------------------------------------------


def cut_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((100, 100), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


@on_both
def test_a_truncated_photo_is_looked_at_on_request(
    wildlife: httpx2.Client, path: str, fields: dict[str, str]
) -> None:
    files = {"file": upload(cut_jpeg())}
    assert wildlife.post(path, data=fields, files=files).status_code == 400
    assert wildlife.post(f"{path}?truncated=error", data=fields, files=files).status_code == 400
    filled = wildlife.post(f"{path}?truncated=fill", data=fields, files=files)
    assert filled.status_code == 200
    assert filled.json()["speciesnet"]["prediction"] == "odocoileus_virginianus"
    assert "truncated" in filled.headers["x-sightline-warning"]
    assert wildlife.post(f"{path}?truncated=perhaps", data=fields, files=files).status_code in (400, 422)


def test_a_truncated_photo_has_a_warning_in_v1(wildlife: httpx2.Client) -> None:
    for address in ("/v1/operations/identify_species", "/v1/analyze?operation=identify_species"):
        join = "&" if "?" in address else "?"
        refused = wildlife.post(address, files={"image": upload(cut_jpeg())})
        assert refused.json()["code"] == "invalid_image"
        response = wildlife.post(f"{address}{join}truncated=fill", files={"image": upload(cut_jpeg())})
        assert response.status_code == 200
        (result,) = response.json()["images"][0]["results"].values()
        assert any("truncated" in warning for warning in result["warnings"])
        whole = wildlife.post(f"{address}{join}truncated=fill", files={"image": upload(png())})
        (result,) = whole.json()["images"][0]["results"].values()
        assert not any("truncated" in warning for warning in result.get("warnings", ()))
