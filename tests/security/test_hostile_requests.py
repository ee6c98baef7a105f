"""Hostile requests to a running server: each a clear 4xx, soon, and the server none the worse."""

import base64
import gzip
import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import skimage.data
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

URL = "/v1/analyze?operation=embed_clip"
# "Under a second" with the slack of a busy two-core machine.
SOON_S = 3.0


def post(client, body, content_type="image/jpeg", **headers):
    began = time.monotonic()
    response = client.post(URL, content=body, headers={"content-type": content_type, **headers})
    assert time.monotonic() - began < SOON_S
    return response


def still_well(client, portrait):
    return post(client, portrait).status_code == 200


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def many_frames_gif(count):
    frame = Image.fromarray(np.zeros((8, 8), np.uint8))
    buffer = io.BytesIO()
    frame.save(buffer, "GIF")
    data = buffer.getvalue()
    body = data[: data.rindex(b";")]
    image_at = body.index(b",", 13)
    return body + body[image_at:] * (count - 1) + b";"


IMAGES = {
    "empty": (b"", 422, "invalid_image"),
    "not an image": (b"hello, I am a photo", 415, "unsupported_image"),
    "HTML": (b"<html><script>alert(1)</script></html>", 415, "unsupported_image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image"),
    "PDF": (b"%PDF-1.7\n", 415, "unsupported_image"),
    "60,000 x 60,000": (png_header(60_000, 60_000), 413, "image_too_large"),
    "one long side": (png_header(40_000, 10), 413, "image_too_large"),
    "only a JPEG's start": (b"\xff\xd8\xff\xe0", 422, "invalid_image"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_bad_image_is_refused_by_name(client, portrait, name):
    body, status, code = IMAGES[name]
    response = post(client, body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert still_well(client, portrait)


def test_one_pixel_is_an_image(client):
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), (9, 9, 9)).save(buffer, "PNG")
    assert post(client, buffer.getvalue()).status_code == 200
    faces = client.post("/v1/analyze", files={"image": buffer.getvalue()}).json()["images"][0]["results"]
    assert (faces["face"]["status"], faces["face"]["data"]) == ("ok", None)


def test_gif_of_ten_thousand_frames_costs_one(client):
    body = many_frames_gif(10_000)
    assert len(body) < 1_000_000
    assert post(client, body, "image/gif").status_code == 200


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.999))
def test_photo_truncated_anywhere_is_a_4xx(client, portrait, share):
    response = post(client, portrait[: int(len(portrait) * share)])
    assert response.status_code in (413, 415, 422), response.text


def test_declared_type_is_not_believed(client):
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.coffee()).save(buffer, "PNG")
    assert post(client, buffer.getvalue(), "image/jpeg").status_code == 200
    assert post(client, b"MZ this is a program", "image/png").status_code == 415


def test_compressed_body_is_refused(client, portrait):
    response = post(client, gzip.compress(portrait), **{"content-encoding": "gzip"})
    assert response.status_code == 415


def test_body_over_the_limit_is_refused_early(serve, portrait):
    client = serve(request_max_bytes=100_000)
    assert post(client, b"\xff\xd8" + b"x" * 100_001).status_code == 413
    endless = (b"x" * 10_000 for _ in range(1_000))
    assert client.post(URL, content=endless, headers={"content-type": "image/jpeg"}).status_code == 413
    assert still_well(client, portrait)


def test_image_over_the_limit_is_refused_in_every_form(serve, portrait):
    client = serve(image_max_bytes=1_000)
    text = base64.b64encode(portrait).decode()
    for response in (
        post(client, portrait),
        client.post("/v1/analyze", json={"base64": text, "tasks": ["embed_clip"]}),
        client.post("/v1/analyze", files={"image": portrait}),
    ):
        assert (response.status_code, response.json()["code"]) == (413, "image_too_large")


def test_pixel_limit_is_judged_by_the_header(serve, portrait):
    client = serve(image_max_pixels=512 * 512 - 1)
    assert post(client, portrait).status_code == 413


FORBIDDEN_URLS = [
    "http://127.0.0.1/",
    "http://localhost:80/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://10.0.0.1/a.jpg",
    "file:///etc/passwd",
    "gopher://example.org/",
    "http://user:pass@example.org/",
    "http://example.org:22/",
    "//example.org/a.jpg",
    "",
]


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_forbidden_urls_are_refused_without_a_word_about_addresses(client, url):
    began = time.monotonic()
    response = client.post("/v1/analyze", json={"url": url, "tasks": ["embed_clip"]})
    assert time.monotonic() - began < SOON_S
    assert response.status_code == 422
    assert response.json()["code"] == "url_refused"
    assert "127.0.0.1" not in response.json()["detail"]


class OneAnswerServer:
    """Answers every connection with what ``answer`` writes to it."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection:
            try:
                connection.recv(65536)
                self._answer(connection)
            except OSError:
                pass

    def close(self):
        self._listener.close()


@pytest.fixture
def answering() -> Iterator:
    servers = []

    def start(answer):
        servers.append(OneAnswerServer(answer))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


def drip(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.1)


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def to_loopback(connection):
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[::1]/\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "code"),
    [(drip, "fetch_timeout"), (endless, "image_too_large"), (to_loopback, "url_refused")],
)
def test_misbehaving_web_servers_are_a_4xx(serve, answering, portrait, answer, code):
    port = answering(answer)
    client = serve(
        fetch_ports=(port, 80),
        fetch_allow_networks=("127.0.0.0/8",),
        fetch_timeout_s=0.8,
        image_max_bytes=1_000_000,
    )
    began = time.monotonic()
    response = client.post(
        "/v1/analyze", json={"url": f"http://127.0.0.1:{port}/a.jpg", "tasks": ["embed_clip"]}
    )
    assert time.monotonic() - began < SOON_S
    assert 400 <= response.status_code < 500
    assert response.json()["code"] == code
    assert still_well(client, portrait)


def test_photo_behind_a_url_is_analysed(serve, answering, portrait):
    def photo(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(portrait) + portrait)

    port = answering(photo)
    client = serve(fetch_ports=(port,), fetch_allow_networks=("127.0.0.0/8",))
    url = f"http://127.0.0.1:{port}/a.jpg"
    found = client.post("/v1/analyze", json={"url": url, "tasks": ["embed_clip"]}).json()["images"][0]
    assert found["source"] == "url"
    assert found["results"]["embed_clip"]["status"] == "ok"
    legacy = client.post(
        "/analyze_image/",
        json={"image_url": url, "tasks": [{"operation_id": "a", "type": "embed_clip_vit_b_32"}]},
    ).json()
    assert legacy["image_url"] == url
    assert legacy["results"]["a"]["status"] == "success"


def test_header_bombs_leave_memory_flat(client):
    process = psutil.Process()
    bombs = [png_header(65_535, 65_535), many_frames_gif(5_000)]
    for bomb in bombs * 3:
        post(client, bomb)
    before = process.memory_info().rss
    for bomb in bombs * 20:
        post(client, bomb)
    assert process.memory_info().rss - before < 40 * 2**20


def test_keys_guard_everything_but_health(serve, portrait):
    client = serve(api_keys=("right-key",))
    for path in ("/v1/models", "/v1/operations", "/available_operations/", "/metrics"):
        assert client.get(path).status_code == 401
    assert post(client, portrait).status_code == 401
    assert post(client, portrait, **{"x-api-key": "wrong"}).status_code == 401
    assert post(client, portrait, **{"x-api-key": "right-key"}).status_code == 200
    assert post(client, portrait, authorization="Bearer right-key").status_code == 200
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_every_answer_has_the_headers_that_protect_a_browser(client):
    answers = (
        client.get("/"),
        client.get("/nothing"),
        client.post("/v1/analyze", content=b"{"),
        client.delete("/livez"),
        client.get("/docs"),
    )
    for response in answers:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in response.headers
        assert "server" not in response.headers
