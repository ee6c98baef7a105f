"""The geoclip-service contract: its shapes, every row of its error table, and what guards it.

The prediction is a stand-in; what is tested is everything between the socket and the operation.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel, Field, SecretStr
from starlette.testclient import TestClient

from sightline import operations
from sightline.capabilities.geolocation import GEOLOCATION
from sightline.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelLoading,
    ModelUnavailable,
    Overloaded,
)
from sightline.operations import Answer, Operation, Params, Result, TimingGroup
from sightline.server.app import create_app, wrapped
from sightline.server.csrf import CsrfTokens
from sightline.server.logs import JsonFormatter, TextFormatter
from sightline.server.middleware.security_headers import HEADERS
from sightline.server.routes.compat.geoclip import MAX_BODY_BYTES, MAX_IMAGE_BYTES
from sightline.settings import Settings
from sightline.types import ModelRef, Provenance

KEY, OTHER_KEY = "the-key-0123456789", "another-key-987654321"
SECRET, OLD_SECRET = "csrf-secret-of-now", "csrf-secret-of-before"
ORIGIN = "https://yourdomain.com"
FORM = "application/x-www-form-urlencoded"


# -- a stand-in for the operation --------------------------------------------------------------------------


class Candidate(BaseModel):
    lat: float
    lon: float
    probability: float
    place: str | None


class Located(Result):
    candidates: list[Candidate]


class LocatedParams(Params):
    top_k: int = Field(5, description="How many.")


CANDIDATES = [
    Candidate(lat=35.6762, lon=139.6503, probability=0.74, place="Tokyo, Tokyo, JP"),
    Candidate(lat=35.4437, lon=139.638, probability=0.15, place="Yokohama, Kanagawa, JP"),
    Candidate(lat=-48.876667, lon=-123.393333, probability=0.06, place=None),
    Candidate(lat=0, lon=0, probability=0.05, place="Nowhere"),
]


class StandIn(Operation[LocatedParams, Located]):
    name = "geolocate"
    description = "Says where a photo was taken."
    needs = (GEOLOCATION,)
    Params = LocatedParams
    Result = Located
    example = {}
    timing_group = TimingGroup.CLASSIFICATION
    failure: Exception | None = None
    provenance = Provenance.PULLED
    warning = ""

    async def run(self, scene, params, models):
        if self.failure is not None:
            raise self.failure
        if self.warning:
            scene.trace.warnings.append(self.warning)
        await asyncio.to_thread(scene.picture.rgb)
        return Answer(
            Located(candidates=CANDIDATES[: params.top_k]), ModelRef("stand-in", "f1", self.provenance)
        )


@pytest.fixture
def operation(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    known = operations.catalogue
    monkeypatch.setattr(
        operations, "catalogue", lambda plugins_dir=None: {**known(plugins_dir), stand_in.name: stand_in}
    )
    return stand_in


class Clock:
    """Stands still unless moved. Tokens, limits and their storage all look at it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("itsdangerous.timed", "sightline.server.csrf", "sightline.server.middleware.rate_limit"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


# -- clients -----------------------------------------------------------------------------------------------

Start = Callable[..., TestClient]


@pytest.fixture
def start(operation: StandIn, models_dir) -> Iterator[Start]:
    """A client of a new server, by the whole shell: ``start(api_limits=…, peer="…")``."""
    with ExitStack() as stack:

        def start(peer: str = "203.0.113.7", **changes: object) -> TestClient:
            unlimited = {"api_limits": ("off",), "geolocate_limits": ("off",)}
            own = {"api_keys": (KEY, OTHER_KEY), "csrf_secrets": (SECRET,), "offline": True}
            settings = Settings(
                _env_file=None,
                models_dir=models_dir,
                **{**own, **unlimited, **changes},  # type: ignore[arg-type]
            )
            asgi = wrapped(create_app(settings), settings)
            return stack.enter_context(TestClient(asgi, client=(peer, 40_000), raise_server_exceptions=False))

        yield start


@pytest.fixture
def client(start: Start) -> TestClient:
    return start()


def token_of(client: TestClient, key: str = KEY) -> str:
    response = client.get("/api/get-csrf-token", headers={"X-API-Key": key})
    assert response.status_code == 200, response.text
    assert set(response.json()) == {"csrf_token"}
    return response.json()["csrf_token"]


def guard(client: TestClient, key: str = KEY) -> dict[str, str]:
    return {"X-API-Key": key, "X-CSRF-Token": token_of(client, key)}


def send(client: TestClient, image: bytes, name: str = "photo.jpg", kind: str = "image/jpeg", **kwargs):
    return client.post(
        "/api/geolocate", headers=guard(client), files={"image": (name, image, kind)}, **kwargs
    )


def send_uri(client: TestClient, uri: str):
    return client.post("/api/geolocate", headers=guard(client), files={"image_data": (None, uri)})


def uri_of(image: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def small(image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(buffer, image_format, **options)
    return buffer.getvalue()


def padded(image: bytes, num_bytes: int) -> bytes:
    """A JPEG of exactly that many bytes: what follows its end is ignored by decoders."""
    return image + b"\0" * (num_bytes - len(image))


def refused(response, status: int) -> str:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"detail"}
    assert all(response.headers[name] == value for name, value in HEADERS.items())
    return response.json()["detail"]


# -- the answers -------------------------------------------------------------------------------------------


def test_health_is_open_to_everybody(client):
    response = client.get("/api/health")
    assert (response.status_code, response.json()) == (200, {"status": "healthy"})


def test_the_answer_has_the_contracts_shape(client, portrait):
    response = send(client, portrait)
    assert response.status_code == 200, response.text
    assert response.json() == {
        "predictions": [
            {"location": "Tokyo, Tokyo, JP", "confidence": 0.74},
            {"location": "Yokohama, Kanagawa, JP", "confidence": 0.15},
            {"location": "-48.8767, -123.3933", "confidence": 0.06},
        ],
        "coordinates": [
            {"lat": 35.6762, "lon": 139.6503},
            {"lat": 35.4437, "lon": 139.638},
            {"lat": -48.876667, "lon": -123.393333},
        ],
    }
    assert "x-sightline-warning" not in response.headers


def test_random_weights_are_said_in_a_header(client, operation, portrait):
    operation.provenance = Provenance.RANDOM
    assert "random weights" in send(client, portrait).headers["x-sightline-warning"]


def test_a_warning_a_header_cannot_hold_is_said_in_what_it_can(client, operation, portrait):
    operation.warning = "no names:\r\nX-Evil: 1 São Tomé…"
    response = send(client, portrait)
    assert response.status_code == 200
    assert response.headers["x-sightline-warning"] == "no names: X-Evil: 1 S?o Tom??"


@pytest.mark.parametrize(
    ("image_format", "kind"),
    [("JPEG", "image/jpeg"), ("JPEG", "image/jpg"), ("PNG", "image/png"), ("WEBP", "image/webp")],
)
def test_all_three_formats_come_as_file_or_data_uri(client, image_format, kind):
    image = small(image_format)
    uri = uri_of(image, kind)
    responses = [
        send(client, image, "photo", kind),
        send_uri(client, uri),
        client.post("/api/geolocate", headers=guard(client), data={"image_data": uri}),
        send_uri(client, uri_of(image, kind.upper())),
        send_uri(client, uri_of(image, f"{kind};name=a.b;charset=utf-8")),
    ]
    assert [response.status_code for response in responses] == [200] * 5
    assert all(len(response.json()["predictions"]) == 3 for response in responses)


def test_a_files_declared_type_and_name_mean_nothing(client):
    assert send(client, small("PNG"), "photo.gif", "text/plain").status_code == 200


def test_fields_left_alone_count_as_not_sent(client, portrait):
    """What a browser sends for a form with both inputs, one of them filled in."""
    headers = guard(client)
    empty_text = client.post(
        "/api/geolocate", headers=headers, files={"image": portrait}, data={"image_data": "", "submit": "Go"}
    )
    boundary = "----b"
    parts = [
        'Content-Disposition: form-data; name="image"; filename=""\r\n'
        "Content-Type: application/octet-stream\r\n\r\n",
        f'Content-Disposition: form-data; name="image_data"\r\n\r\n{uri_of(small("PNG"), "image/png")}',
    ]
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
    empty_file = client.post(
        "/api/geolocate",
        headers={**headers, "Content-Type": f"multipart/form-data; boundary={boundary}"},
        content=body.encode(),
    )
    assert (empty_text.status_code, empty_file.status_code) == (200, 200)


def test_without_a_configured_key_only_the_token_is_asked_for(start, portrait):
    client = start(api_keys=())
    token = client.get("/api/get-csrf-token").json()["csrf_token"]
    for headers in ({}, {"X-API-Key": "left over from somewhere"}):
        response = client.post(
            "/api/geolocate", headers={"X-CSRF-Token": token, **headers}, files={"image": portrait}
        )
        assert response.status_code == 200
    refused(client.post("/api/geolocate", files={"image": portrait}), 403)


# -- 400 ---------------------------------------------------------------------------------------------------

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
NOT_ACCEPTED = {
    "GIF": small("GIF"),
    "BMP": small("BMP"),
    "TIFF": small("TIFF"),
    "SVG": SVG,
    "text": b"not an image",
    "nothing": b"",
    "cut short": small("PNG")[:40],
}


@pytest.mark.parametrize("name", NOT_ACCEPTED)
@pytest.mark.parametrize("kind", ["image/jpeg", "image/png"])
def test_other_contents_are_400_whatever_they_are_called(client, name, kind):
    refused(send(client, NOT_ACCEPTED[name], "photo.jpg", kind), 400)
    refused(send_uri(client, uri_of(NOT_ACCEPTED[name], kind)), 400)


def test_a_picture_that_does_not_decode_is_400(client, portrait):
    refused(send(client, portrait[: len(portrait) // 2]), 400)


def test_neither_is_400(client):
    headers = guard(client)
    for body in (
        {"files": {"photo": small("PNG")}},
        {"files": {"image": (None, "text where a file belongs")}},
        {"files": {"image_data": ("file.txt", uri_of(small("PNG"), "image/png"))}},
        {"data": {"image": uri_of(small("PNG"), "image/png")}},
        {"data": {"image_data": ""}},
        {"json": {"image_data": uri_of(small("PNG"), "image/png")}},
        {"content": small("PNG"), "headers": {**headers, "Content-Type": "image/png"}},
        {"content": b""},
    ):
        assert "has none" in refused(client.post("/api/geolocate", **{"headers": headers, **body}), 400)


def test_both_or_two_of_one_are_400(client):
    png = small("PNG")
    uri = uri_of(png, "image/png")
    headers = guard(client)
    for body in (
        {"files": {"image": png}, "data": {"image_data": uri}},
        {"files": [("image_data", (None, uri)), ("image_data", (None, uri))]},
        {"content": urlencode([("image_data", uri)] * 2), "headers": {**headers, "Content-Type": FORM}},
    ):
        assert "more than one" in refused(client.post("/api/geolocate", **{"headers": headers, **body}), 400)
    two_files = {"files": [("image", ("a.png", png)), ("image", ("b.png", png))]}
    refused(client.post("/api/geolocate", headers=headers, **two_files), 400)


@pytest.mark.parametrize(
    "uri",
    [
        uri_of(small("JPEG"), "image/png"),
        uri_of(small("PNG"), "image/jpeg"),
        uri_of(small("WEBP"), "image/jpeg"),
        uri_of(small("GIF"), "image/gif"),
        uri_of(small("JPEG"), "image/svg+xml"),
        uri_of(small("JPEG"), "text/html"),
        uri_of(small("JPEG"), "application/octet-stream"),
        uri_of(small("JPEG"), ""),
        uri_of(small("JPEG"), "image/jpeg" + ";a=b" * 100),
    ],
)
def test_a_data_uri_of_a_wrong_type_is_400(client, uri):
    assert "data URI" in refused(send_uri(client, uri), 400)


PNG_BASE64 = base64.b64encode(small("PNG")).decode()


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64,",
        "data:image/png;base64",
        f"data:image/png,{PNG_BASE64}",
        PNG_BASE64,
        f"image/png;base64,{PNG_BASE64}",
        f"data:image/png;base64,{PNG_BASE64[:-5]}",
        f"data:image/png;base64,{PNG_BASE64[:40]} {PNG_BASE64[40:]}",
        f"data:image/png;base64,{PNG_BASE64[:40]}*{PNG_BASE64[41:]}",
        f"data:image/png;base64,ü{PNG_BASE64}",
        f"data:image/png;base64,data:image/png;base64,{PNG_BASE64}",
        "https://example.org/photo.png",
    ],
)
def test_broken_base64_is_400(client, uri):
    refused(send_uri(client, uri), 400)
    refused(client.post("/api/geolocate", headers=guard(client), data={"image_data": uri}), 400)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x", FORM])
def test_a_form_that_does_not_parse_is_400(client, kind):
    headers = {**guard(client), "Content-Type": kind}
    refused(client.post("/api/geolocate", headers=headers, content=b"&" * 100 + b"\xff%zz--x\r\n"), 400)
    many = "&".join(f"f{n}=1" for n in range(1000))
    refused(client.post("/api/geolocate", headers=headers, content=many), 400)


# -- 401 and 403 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "0", KEY[:-1]])
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/get-csrf-token"), ("POST", "/api/geolocate")])
def test_no_key_or_a_wrong_one_is_401(client, key, method, path):
    headers = {"X-CSRF-Token": token_of(client)} | ({} if key is None else {"X-API-Key": key})
    refused(client.request(method, path, headers=headers), 401)


def post_with(client: TestClient, token: str | None, image: bytes, key: str = KEY):
    headers = {"X-API-Key": key} | ({} if token is None else {"X-CSRF-Token": token})
    return client.post("/api/geolocate", headers=headers, files={"image": image})


@pytest.mark.parametrize("token", [None, "", "made-up", "a.b.c"])
def test_no_token_or_a_made_up_one_is_403(client, portrait, token):
    assert "X-CSRF-Token" in refused(post_with(client, token, portrait), 403)


def test_a_tampered_token_is_403(client, portrait):
    token = token_of(client)
    changed = token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]
    refused(post_with(client, changed, portrait), 403)


def test_a_token_is_403_after_thirty_minutes(client, clock, portrait):
    token = token_of(client)
    clock.now += 1800
    assert post_with(client, token, portrait).status_code == 200
    clock.now += 1
    refused(post_with(client, token, portrait), 403)


def test_the_token_of_another_key_is_403(client, portrait):
    token = token_of(client, OTHER_KEY)
    refused(post_with(client, token, portrait), 403)
    assert post_with(client, token, portrait, OTHER_KEY).status_code == 200


def test_a_token_follows_its_key_into_the_other_header(client, portrait):
    headers = {"Authorization": f"Bearer {KEY}", "X-CSRF-Token": token_of(client)}
    response = client.post("/api/geolocate", headers=headers, files={"image": portrait})
    assert response.status_code == 200


def test_the_token_of_another_server_is_403(client, portrait):
    foreign = CsrfTokens([SecretStr("another-secret")]).issue(KEY.encode())
    refused(post_with(client, foreign, portrait), 403)


def test_secrets_rotate_newest_first(start, portrait):
    old = token_of(start(csrf_secrets=(OLD_SECRET,)))
    during, after = start(csrf_secrets=(SECRET, OLD_SECRET)), start(csrf_secrets=(SECRET,))
    assert post_with(during, old, portrait).status_code == 200
    assert post_with(after, token_of(during), portrait).status_code == 200
    refused(post_with(after, old, portrait), 403)


def test_two_tokens_are_none(client, portrait):
    token = token_of(client)
    headers = [("X-API-Key", KEY), ("X-CSRF-Token", token), ("X-CSRF-Token", token)]
    refused(client.post("/api/geolocate", headers=headers, files={"image": portrait}), 403)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"x-api-key": KEY}])
async def test_who_may_not_ask_is_told_before_the_body_is_read(operation, settings, headers):
    settings = settings.model_copy(update={"api_keys": (SecretStr(KEY),)})
    asgi = wrapped(create_app(settings), settings)
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/api/geolocate", "root_path": "",
        "query_string": b"", "client": ("203.0.113.7", 1), "server": ("testserver", 80), "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    sent = []

    async def receive():
        raise AssertionError("nothing was to be received")

    async def send(message):
        sent.append(message)

    await asgi(scope, receive, send)
    assert sent[0]["status"] == (403 if headers.get("x-api-key") == KEY else 401)


# -- 413 ---------------------------------------------------------------------------------------------------


def test_five_megabytes_are_taken_and_one_byte_more_is_413(client, portrait):
    most, too_much = padded(portrait, MAX_IMAGE_BYTES), padded(portrait, MAX_IMAGE_BYTES + 1)
    assert MAX_IMAGE_BYTES == 5_242_880
    assert send(client, most).status_code == 200
    assert str(MAX_IMAGE_BYTES) in refused(send(client, too_much), 413)
    assert send_uri(client, uri_of(most)).status_code == 200
    refused(send_uri(client, uri_of(too_much)), 413)


def test_a_form_that_is_not_multipart_has_room_for_five_megabytes_too(client):
    noise = np.random.default_rng(3).bytes(MAX_IMAGE_BYTES - len(small("JPEG")))
    form = {"image_data": uri_of(small("JPEG") + noise)}
    assert client.post("/api/geolocate", headers=guard(client), data=form).status_code == 200


def test_a_body_past_everything_is_413_by_its_announced_length(client):
    refused(send(client, b"\0" * MAX_BODY_BYTES), 413)


def test_too_many_pixels_are_413(start, portrait):
    refused(send(start(image_max_pixels=1000), portrait), 413)


# -- 429 ---------------------------------------------------------------------------------------------------


def geolocate_codes(client: TestClient, headers: dict[str, str], times: int) -> list[int]:
    """Statuses of requests that are let through (400: they have no image) or not (429)."""
    return [client.post("/api/geolocate", headers=headers).status_code for _ in range(times)]


def test_ten_a_minute_on_the_route(start, clock):
    client = start(**defaults())
    headers = guard(client)
    assert geolocate_codes(client, headers, 11) == [400] * 10 + [429]
    refusal = client.post("/api/geolocate", headers=headers)
    assert refused(refusal, 429)
    assert refusal.headers["retry-after"] == "61"
    clock.now += 61
    assert geolocate_codes(client, headers, 11) == [400] * 10 + [429]


def test_fifty_an_hour_and_two_hundred_a_day_for_all_routes_together(start, clock):
    client = start(**defaults())
    ask = {"X-API-Key": KEY}
    codes = [client.get("/api/get-csrf-token", headers=ask).status_code for _ in range(51)]
    assert codes == [200] * 50 + [429]
    assert geolocate_codes(client, ask, 1) == [429]
    for _ in range(3):
        clock.now += 3601
        codes = [client.get("/api/get-csrf-token", headers=ask).status_code for _ in range(51)]
        assert codes == [200] * 50 + [429]
    clock.now += 3601
    day_over = client.get("/api/get-csrf-token", headers=ask)
    refused(day_over, 429)
    assert int(day_over.headers["retry-after"]) == 86_400 - 4 * 3601 + 1
    assert client.get("/api/health").status_code == 200


def test_strangers_use_up_nothing(start, clock):
    client = start(**defaults())
    for _ in range(60):
        refused(client.post("/api/geolocate", headers={"X-API-Key": "wrong"}), 401)
    assert token_of(client)


def test_a_spoofed_forwarded_address_is_ignored(start, clock):
    client = start(**defaults())
    headers = guard(client)
    for n in range(10):
        geolocate_codes(client, {**headers, "X-Forwarded-For": f"198.51.100.{n}"}, 1)
    assert geolocate_codes(client, {**headers, "X-Forwarded-For": "198.51.100.99"}, 1) == [429]


def test_a_trusted_proxy_tells_clients_apart_and_none_can_pose_as_another(start, clock):
    client = start(peer="10.0.0.2", trusted_proxies=(ip_network("10.0.0.0/8"),), **defaults())
    headers = guard(client)
    first = {**headers, "X-Forwarded-For": "198.51.100.1"}
    assert geolocate_codes(client, first, 11) == [400] * 10 + [429]
    assert geolocate_codes(client, {**headers, "X-Forwarded-For": "198.51.100.2"}, 1) == [400]
    posing = {**headers, "X-Forwarded-For": "198.51.100.2, 198.51.100.1, 10.0.0.9"}
    assert geolocate_codes(client, posing, 1) == [429]


def test_uvicorn_believes_no_forwarded_address_by_itself(serve):
    """The peer is a real 127.0.0.1, which uvicorn would trust if it were left to it."""
    client = serve(geolocate_limits=("2/minute",))
    codes = [
        client.post("/api/geolocate", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
        for n in range(3)
    ]
    assert codes == [403, 403, 429]


def defaults() -> dict[str, tuple[str, ...]]:
    settings = Settings(_env_file=None)
    return {"api_limits": settings.api_limits, "geolocate_limits": settings.geolocate_limits}


def test_a_full_queue_is_429_too(client, operation, portrait):
    operation.failure = Overloaded("the queue is full", 7)
    response = send(client, portrait)
    assert "queue" in refused(response, 429)
    assert response.headers["retry-after"] == "7"


# -- 500 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        ModelUnavailable("weights are missing"),
        ModelLoading("not yet"),
        InferenceFailed("this item"),
        DeadlineExceeded("too late"),
        RuntimeError("s3cret path"),
    ],
)
def test_whatever_keeps_it_from_answering_is_500(client, operation, portrait, failure):
    operation.failure = failure
    assert "s3cret" not in refused(send(client, portrait), 500)


# -- CORS --------------------------------------------------------------------------------------------------


def test_a_page_of_the_configured_origin_may_call(start, portrait):
    client = start(cors_origins=(ORIGIN,))
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key,x-csrf-token",
    }
    preflight = client.options("/api/geolocate", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    headers = {**guard(client), "Origin": ORIGIN}
    response = client.post("/api/geolocate", headers=headers, files={"image": portrait})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    missing_key = client.post("/api/geolocate", headers={"Origin": ORIGIN})
    assert refused(missing_key, 401)
    assert missing_key.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("origins", [(), (ORIGIN,)])
def test_any_other_page_gets_no_headers(start, origins):
    client = start(cors_origins=origins)
    evil = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for response in (
        client.options("/api/geolocate", headers=evil),
        client.get("/api/health", headers=evil),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]


# -- what is kept to itself --------------------------------------------------------------------------------


def test_no_key_token_or_secret_is_logged(start, operation, portrait):
    text = io.StringIO()
    sink = logging.Handler(logging.DEBUG)
    sink.emit = lambda record: text.write(  # type: ignore[method-assign]
        f"{JsonFormatter().format(record)}\n{TextFormatter().format(record)}\n"
    )
    root = logging.getLogger()
    level = root.level
    root.addHandler(sink)
    root.setLevel(logging.DEBUG)
    try:
        client = start(geolocate_limits=("4/minute",))
        token = token_of(client)
        post_with(client, token, portrait)
        post_with(client, token, portrait, OTHER_KEY)
        post_with(client, token, portrait, "a-wrong-key-5555")
        operation.failure = RuntimeError("on purpose")
        for _ in range(4):
            post_with(client, token, portrait)
    finally:
        root.removeHandler(sink)
        root.setLevel(level)
    logged = text.getvalue()
    for status in (200, 401, 403, 429, 500):
        assert f'"status": {status}' in logged or f'"status":{status}' in logged, status
    for private in (KEY, OTHER_KEY, "a-wrong-key-5555", SECRET, token, token.rpartition(".")[2]):
        assert private not in logged


def test_openapi_names_every_status(client):
    paths = client.get("/openapi.json", headers={"X-API-Key": KEY}).json()["paths"]
    described = set(paths["/api/geolocate"]["post"]["responses"])
    assert described >= {"200", "400", "401", "403", "413", "429", "500"}


# -- what Flask answers by itself --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/health", "/api/get-csrf-token"])
def test_head_is_answered_where_get_is(client: TestClient, path: str) -> None:
    headers = {"X-API-Key": KEY}
    answer = client.head(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == client.get(path, headers=headers).headers["content-type"]


def test_head_needs_the_key_where_get_does(client: TestClient) -> None:
    assert client.head("/api/health").status_code == 200
    assert client.head("/api/get-csrf-token").status_code == 401


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/health", {"GET", "HEAD", "OPTIONS"}),
        ("/api/get-csrf-token", {"GET", "HEAD", "OPTIONS"}),
        ("/api/geolocate", {"OPTIONS", "POST"}),
    ],
)
def test_options_says_which_methods_there_are(client: TestClient, path: str, allow: set[str]) -> None:
    answer = client.options(path)
    assert answer.status_code == 200
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("data", [b"not an image", b""])
def test_a_refusal_names_the_formats_of_this_route_alone(client: TestClient, data: bytes) -> None:
    detail = refused(send(client, data), 400)
    assert "TIFF" not in detail
    assert "HEIC" not in detail
