"""The clip-image-classifier contract: its examples over real connections, and what it says no to.

CLIP is played by two models of a plug-in folder: what looks knows three colours, and what reads knows the
label set's texts. What is tested is everything between the socket and the networks.
"""

from __future__ import annotations

import io
import json
import re
import time
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from sightline.runtime import residency

RED, GREEN, BLUE, GREY = (250, 5, 5), (5, 250, 5), (5, 5, 250), (120, 120, 120)
FIELDS = [
    "filename",
    "file_size_bytes",
    "is_map_or_aerial",
    "confidence",
    "classification",
    "probabilities",
    "would_download",
    "timestamp",
]


def picture(colour: tuple[int, int, int], kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def start(serve: Any, with_colours: Any, tmp_path: Path) -> Callable[..., httpx2.Client]:
    plugins_dir = with_colours(tmp_path / "plugins")
    return lambda **changes: serve(plugins_dir=plugins_dir, **changes)


@pytest.fixture
def classifier(start: Callable[..., httpx2.Client]) -> Iterator[httpx2.Client]:
    return start()


def classify(
    client: httpx2.Client, data: bytes, name: str = "image.jpg", kind: str = "image/jpeg"
) -> httpx2.Response:
    return client.post("/classify", files={"file": (name, data, kind)})


# -- the examples ------------------------------------------------------------------------------------------


def test_the_readmes_example_has_its_fields_in_its_order(classifier: httpx2.Client) -> None:
    data = picture(RED, "JPEG")
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    response = classify(classifier, data, "example.jpg")
    assert response.status_code == 200, response.text
    body = response.json()
    assert list(body) == FIELDS
    assert body["filename"] == "example.jpg"
    assert body["file_size_bytes"] == len(data)
    assert body["is_map_or_aerial"] is True
    assert body["classification"] == "maps"
    assert body["would_download"] is True
    assert list(body["probabilities"]) == ["maps", "aerial_satellite", "miscellaneous"]
    assert body["confidence"] == body["probabilities"]["maps"] == max(body["probabilities"].values())
    assert sum(body["probabilities"].values()) == pytest.approx(1)
    said = datetime.fromisoformat(body["timestamp"])
    assert said.utcoffset() == timedelta(0)
    assert before <= said <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("colour", "classification", "wanted"),
    [(RED, "maps", True), (GREEN, "aerial_satellite", True), (BLUE, "miscellaneous", False)],
)
def test_each_class_and_what_becomes_of_it(
    classifier: httpx2.Client, colour: tuple[int, int, int], classification: str, wanted: bool
) -> None:
    body = classify(classifier, picture(colour)).json()
    assert body["classification"] == classification
    assert (body["is_map_or_aerial"], body["would_download"]) == (wanted, wanted)


def test_a_third_of_each_is_not_enough(classifier: httpx2.Client) -> None:
    body = classify(classifier, picture(GREY)).json()
    assert max(body["probabilities"].values()) < 0.4
    assert body["is_map_or_aerial"] is body["would_download"] is False


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_formats_of_the_contract_whatever_the_file_is_called(classifier: httpx2.Client, kind: str) -> None:
    response = classify(classifier, picture(GREEN, kind), "holiday.txt", "text/plain")
    assert response.status_code == 200, response.text
    assert response.json()["classification"] == "aerial_satellite"
    assert response.json()["filename"] == "holiday.txt"


def test_the_readmes_client_by_the_standard_library(classifier: httpx2.Client) -> None:
    """What ``requests.post(url, files={"file": ("image.jpg", f, "image/jpeg")})`` puts on the wire."""
    boundary = uuid.uuid4().hex
    body = (
        f"--{boundary}\r\nContent-Disposition: form-data; "
        'name="file"; filename="image.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    ).encode()
    body += picture(RED, "JPEG") + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        str(classifier.base_url.join("/classify")),
        body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}", "User-Agent": "python-requests/2.32"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        result = json.load(response)
    assert result["would_download"] is True
    assert result["classification"] == "maps"
    assert f"{result['confidence']:.2f}" == "1.00"


def test_names_come_back_as_they_were_sent(classifier: httpx2.Client) -> None:
    for name in ("kaart Überweg 北京.png", "../../x.png", "<script>.png"):
        assert classify(classifier, picture(RED), name).json()["filename"] == name


def test_texts_are_read_once(
    start: Callable[..., httpx2.Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "texts"
    monkeypatch.setenv("TEXTS_READ", str(log))
    client = start()
    assert classify(client, picture(RED)).status_code == 200
    first = log.read_text().splitlines()
    assert len(first) == len(set(first)) > 3
    for colour in (GREEN, BLUE, RED):
        assert classify(client, picture(colour)).status_code == 200
    assert log.read_text().splitlines() == first
    metrics = client.get("/metrics").text
    # How many is the operation's affair: it keeps what a set of labels comes to as well.
    recalled = re.search(r'^sightline_texts_recalled_total\{model="a-reader"\} (\S+)$', metrics, re.MULTILINE)
    assert recalled is not None
    assert float(recalled[1]) > 0
    assert f'sightline_batch_size_sum{{model="a-reader"}} {float(len(first))}' in metrics


# -- what it says no to ------------------------------------------------------------------------------------


def detail(response: httpx2.Response) -> str:
    assert list(response.json()) == ["detail"]
    return str(response.json()["detail"])


def test_no_file_is_a_400_that_says_how(classifier: httpx2.Client) -> None:
    for request in (
        {"files": {"image": ("a.png", picture(RED))}},
        {"data": {"file": "a.png"}},
        {"content": picture(RED), "headers": {"Content-Type": "image/png"}},
        {},
    ):
        response = classifier.post("/classify", **request)
        assert response.status_code == 400, response.text
        assert "'file'" in detail(response)


def test_two_files_are_a_400(classifier: httpx2.Client) -> None:
    files = [("file", ("a.png", picture(RED))), ("file", ("b.png", picture(RED)))]
    assert classifier.post("/classify", files=files).status_code == 400


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_other_image_formats_are_a_415_even_if_read_elsewhere(classifier: httpx2.Client, kind: str) -> None:
    response = classify(classifier, picture(RED, kind), "map.png", "image/png")
    assert response.status_code == 415
    assert f"{kind} image; JPG, PNG, GIF, BMP and TIFF are accepted" in detail(response)


@pytest.mark.parametrize("data", [b"%PDF-1.7 nothing", b"<svg/>", b"GIF", bytes(100)])
def test_what_is_no_image_is_a_415(classifier: httpx2.Client, data: bytes) -> None:
    response = classify(classifier, data, "map.png", "image/png")
    assert response.status_code == 415, response.text
    assert "accepted format; JPG, PNG, GIF, BMP and TIFF are accepted" in detail(response)


def test_damaged_and_empty_files_are_a_422(classifier: httpx2.Client) -> None:
    whole = picture(RED, "JPEG", (300, 300))
    for data in (b"", whole[: len(whole) // 2]):
        response = classify(classifier, data)
        assert response.status_code == 422, response.text
        assert detail(response)


def test_a_header_of_too_many_pixels_is_a_413(classifier: httpx2.Client) -> None:
    huge = bytearray(picture(RED))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    response = classify(classifier, bytes(huge))
    assert response.status_code == 413
    assert "60000" in detail(response)


def padded(num_bytes: int) -> bytes:
    """A JPEG of that length: what follows its end is no part of it."""
    data = picture(GREEN, "JPEG")
    return data + bytes(num_bytes - len(data))


def test_fifty_megabytes_pass_and_a_byte_more_does_not(classifier: httpx2.Client) -> None:
    """Twice what other routes take."""
    most = 50 * 1024 * 1024
    response = classify(classifier, padded(most))
    assert response.status_code == 200, response.text
    assert response.json()["file_size_bytes"] == most
    response = classify(classifier, padded(most + 1))
    assert response.status_code == 413
    assert str(most) in detail(response)


def test_the_limit_can_be_set_and_long_bodies_are_not_read_to_their_end(
    start: Callable[..., httpx2.Client],
) -> None:
    client = start(classify_max_bytes=5_000)
    assert classify(client, padded(5_000)).status_code == 200
    assert classify(client, padded(5_001)).status_code == 413
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(200):
            sent += 1
            yield bytes(100_000)

    try:
        response = client.post(
            "/classify", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
    except httpx2.TransportError:
        pass  # it was still writing when the connection went
    else:
        assert response.status_code == 413
    assert sent < 200


def test_a_key_is_asked_for_where_there_is_one_but_not_for_health(
    start: Callable[..., httpx2.Client],
) -> None:
    client = start(api_keys=("the-key-0123456789",))
    assert classify(client, picture(RED)).status_code == 401
    client.headers["X-API-Key"] = "the-key-0123456789"
    assert classify(client, picture(RED)).status_code == 200
    del client.headers["X-API-Key"]
    assert client.get("/health").status_code == 200


def test_other_methods_and_paths_are_not_there(classifier: httpx2.Client) -> None:
    assert classifier.get("/classify").status_code == 405
    assert classifier.post("/classify/more").status_code == 404


def test_a_model_that_fails_is_a_500_without_its_secrets(
    start: Callable[..., httpx2.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLUCKY", "1")
    response = classify(start(), picture(RED))
    assert response.status_code == 500
    assert "secret" not in detail(response)


def test_missing_weights_are_a_503_that_says_how_to_get_them(client: httpx2.Client) -> None:
    response = classify(client, picture(RED))
    assert response.status_code == 503
    assert "sightline models" in detail(response)


# -- health ------------------------------------------------------------------------------------------------


# A half of CLIP that does not load, and a keeper of label sets without any, while their variable is set. In
# order of the names they come first.
MOODY = """
import os
import numpy as np
from sightline.errors import ModelBroken
from sightline.models import ModelCard, ModelDefinition, Runs
from sightline.models.label_sets import connect as built_in
from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.capabilities.label_sets import LABEL_SETS

class Reader:
    def prepare(self, text):
        return np.ones(4, np.float32)

    def infer(self, items):
        return list(items)

def card(name, capability, **more):
    return ModelCard(
        name=name, capabilities=frozenset({capability}), description="d", licence="CC0-1.0",
        homepage="https://example.org", preprocessing="p", parameters=0, multiply_adds=0, **more,
    )

def load(files, graphs):
    if os.environ.get("NO_MEMORY"):
        raise MemoryError
    return Reader()

def connect(settings):
    if os.environ.get("NO_LABEL_SETS"):
        raise ModelBroken("the file of label sets is broken")
    return built_in(settings)

MODELS = (
    ModelDefinition(
        card(
            "a-moody-reader", TEXT_EMBEDDING, space="clip-vit-b-32", similarity_scale=100.0
        ),
        load,
    ),
    ModelDefinition(card("a-moody-keeper", LABEL_SETS, runs=Runs.IN_LOOP), connect=connect),
)
"""


def models_of(client: httpx2.Client, status: int) -> dict[str, str]:
    """What ``/health`` says of each model, while it answers with ``status``."""
    response = client.get("/health")
    assert response.status_code == status, response.text
    body = response.json()
    assert body["status"] == ("healthy" if status == 200 else "unhealthy")
    models: dict[str, str] = body["models"]
    return models


@pytest.fixture
def moody(start: Callable[..., httpx2.Client], tmp_path: Path) -> Callable[..., httpx2.Client]:
    def started(**changes: object) -> httpx2.Client:
        (tmp_path / "plugins" / "models" / "moody.py").write_text(MOODY)
        return start(**changes)

    return started


def test_health_tells_of_the_api_and_of_both_halves_of_clip(classifier: httpx2.Client) -> None:
    response = classifier.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "healthy"
    assert body["model_loaded"] is False
    assert body["models"] == {"a-looker": "available", "a-reader": "available", "label-sets": "available"}
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() == timedelta(0)
    classify(classifier, picture(RED))
    body = classifier.get("/health").json()
    assert body["model_loaded"] is True
    assert body["models"] == {"a-looker": "ready", "a-reader": "ready", "label-sets": "ready"}


def test_health_is_a_503_when_weights_are_missing_and_stay_so(client: httpx2.Client) -> None:
    response = client.get("/health")
    assert response.status_code == 503
    body = response.json()
    assert body["status"] == "unhealthy"
    assert body["models"]["clip-vit-b-32-text"] == "missing"


def test_weights_that_come_by_themselves_are_healthy(serve: Any) -> None:
    response = serve(offline=False, hub_endpoint="http://127.0.0.1:9").get("/health")
    assert response.status_code == 200
    assert response.json()["models"]["clip-vit-b-32-text"] == "missing"


def test_both_halves_preloaded_are_a_loaded_model(start: Callable[..., httpx2.Client]) -> None:
    """Label sets are read in no time, whenever the first picture comes."""
    client = start(preload=("a-looker", "a-reader"))
    deadline = time.monotonic() + 20
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    body = client.get("/health").json()
    assert body["model_loaded"] is True
    assert body["models"]["label-sets"] == "available"


def test_health_is_well_again_without_a_request_once_another_load_would_be_tried(
    moody: Callable[..., httpx2.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A balancer that sends nothing to an unhealthy server would otherwise never send anything again."""
    monkeypatch.setenv("NO_MEMORY", "1")
    client = moody()
    assert models_of(client, 200)["a-moody-reader"] == "available", "nobody knows of it yet"
    assert classify(client, picture(RED)).status_code == 503
    assert models_of(client, 503)["a-moody-reader"] == "failed"
    monkeypatch.delenv("NO_MEMORY")
    assert models_of(client, 503)["a-moody-reader"] == "failed", "a request would be refused, untried"
    assert classify(client, picture(RED)).status_code == 503
    monkeypatch.setattr(residency, "RETRY_FAILED_LOAD_S", 0.0)  # time passes
    assert models_of(client, 200)["a-moody-reader"] == "failed"
    assert classify(client, picture(RED)).status_code == 200
    assert models_of(client, 200)["a-moody-reader"] == "ready"


def test_health_is_a_503_while_weights_that_should_come_by_themselves_do_not(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(offline=False, hub_endpoint="http://127.0.0.1:9")
    assert classify(client, picture(RED)).status_code == 503
    assert models_of(client, 503)["clip-vit-b-32-text"] == "missing"
    monkeypatch.setattr(residency, "RETRY_FAILED_LOAD_S", 0.0)
    assert models_of(client, 200)["clip-vit-b-32-text"] == "missing"


def test_health_is_a_503_while_the_label_set_cannot_be_had(
    moody: Callable[..., httpx2.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_LABEL_SETS", "1")
    client = moody()
    assert classify(client, picture(RED)).status_code == 503
    models = models_of(client, 503)
    assert models["a-moody-keeper"] == "failed"
    assert models["a-looker"] == "available"
    monkeypatch.delenv("NO_LABEL_SETS")
    monkeypatch.setattr(residency, "RETRY_FAILED_LOAD_S", 0.0)
    assert models_of(client, 200)["a-moody-keeper"] == "failed"
    assert classify(client, picture(RED)).status_code == 200
    assert models_of(client, 200)["a-moody-keeper"] == "ready"


def test_confidence_is_that_of_a_map_or_a_picture_from_above_whatever_won(classifier: httpx2.Client) -> None:
    """A client that keeps what is above 0.5 must not keep what is surely neither."""
    body = classify(classifier, picture(BLUE)).json()
    assert body["classification"] == "miscellaneous"
    wanted = [body["probabilities"][label] for label in ("maps", "aerial_satellite")]
    assert body["confidence"] == max(wanted) < 0.5 < body["probabilities"]["miscellaneous"]
