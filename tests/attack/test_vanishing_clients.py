"""Clients that disappear at any byte of a request or of a response leave nothing behind in a real server."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

CUTS, RESPONSE_CUTS = 40, 12
BOUNDARY = "edge-of-the-part"
RESET = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN


def _post(path: str, content_type: str, body: bytes, *more: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {content_type}",
        *(more or (f"Content-Length: {len(body)}",)),
        "",
        "",
    )
    return "\r\n".join(head).encode() + body


def _form(field: str, data: bytes, **texts: str) -> bytes:
    parts = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in texts.items()
    )
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return parts + head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def _chunked(data: bytes) -> bytes:
    pieces = [data[at : at + 300] for at in range(0, len(data), 300)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


REQUESTS = ("form", "raw", "chunked", "json", "old form", "old upload")


def whole_request(kind: str, photo: bytes) -> bytes:
    form_type = f"multipart/form-data; boundary={BOUNDARY}"
    tasks = json.dumps([{"operation_id": "a", "type": "embed_clip_vit_b_32"}])
    json_body = json.dumps({"url": "http://127.0.0.1/a.jpg", "tasks": ["safe_search"]}).encode()
    return {
        "form": lambda: _post("/v1/analyze", form_type, _form("image", photo, operation="safe_search")),
        "raw": lambda: _post("/v1/operations/safe_search", "image/jpeg", photo),
        "chunked": lambda: _post(
            "/v1/operations/safe_search", "image/jpeg", _chunked(photo), "Transfer-Encoding: chunked"
        ),
        "json": lambda: _post("/v1/analyze", "application/json", json_body),
        "old form": lambda: _post("/classify", form_type, _form("file", photo)),
        "old upload": lambda: _post(
            "/analyze_image_upload/", form_type, _form("image_file", photo, tasks_json=tasks)
        ),
    }[kind]()


def cuts_of(length: int, number: int, seed: str) -> list[int]:
    """The first bytes, the last ones and ``number`` in between."""
    chance = random.Random(seed)
    return sorted({0, 1, length - 1, length, *(chance.randrange(length) for _ in range(number))})


@dataclass(frozen=True)
class Resources:
    """What a client that is gone could have left behind."""

    files: int
    threads: int
    temporary_files: int

    @classmethod
    def of(cls, server: Any) -> Resources:
        process = psutil.Process(server.process.pid)
        return cls(process.num_fds(), process.num_threads(), sum(1 for _ in server.temp.rglob("*")))


@pytest.fixture
def unchanged(server: Any, small_files: dict[str, bytes], portrait: bytes) -> Iterator[None]:
    """Fails if the server holds more than before, or has logged a traceback."""
    photo = small_files["jpeg"]
    known = [whole_request(kind, photo) for kind in REQUESTS]
    for request in [*known, *(request_for(kind, portrait) for kind in ASKED)]:
        for _ in range(4):  # so that all models, threads and decode workers are there
            _converse(server, request)
    server.until_idle()
    before = Resources.of(server)
    yield
    server.until_idle()
    while (after := Resources.of(server)).files > before.files:  # sockets close a moment later
        time.sleep(0.02)
    assert after.temporary_files == before.temporary_files  # those of the rehearsal
    assert after.threads <= before.threads + 1
    assert "Traceback" not in server.log
    assert server.client.post(
        "/v1/operations/safe_search", content=photo, headers={"Content-Type": "image/jpeg"}
    ).is_success


def _connect(server: Any, *, receive_bytes: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", server.port))
    return connection


def _converse(server: Any, request: bytes) -> None:
    with _connect(server) as connection:
        connection.sendall(request)
        connection.recv(1 << 20)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_cut_at_any_byte(
    server: Any, small_files: dict[str, bytes], unchanged: None, is_long: bool, kind: str
) -> None:
    request = whole_request(kind, small_files["jpeg"])
    for cut in range(len(request) + 1) if is_long else cuts_of(len(request), CUTS, kind):
        with _connect(server) as connection:
            connection.sendall(request[:cut])
            if cut % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


ASKED = ("document", "metrics", "preview", "vector", "error")


def request_for(kind: str, photo: bytes) -> bytes:
    """A request whose response is large (document, metrics, preview), or small."""
    if kind == "preview":
        return _post("/v1/preview", "image/jpeg", photo)
    if kind == "vector":
        return _post("/v1/operations/embed_clip", "image/jpeg", photo)
    path = {"document": "/openapi.json", "metrics": "/metrics", "error": "/v1/nothing"}[kind]
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.mark.parametrize("kind", ASKED)
def test_a_response_cut_at_any_byte(
    server: Any, small_files: dict[str, bytes], portrait: bytes, unchanged: None, is_long: bool, kind: str
) -> None:
    request = request_for(kind, portrait).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with _connect(server) as connection:
        connection.sendall(request)
        length = sum(map(len, iter(lambda: connection.recv(1 << 16), b"")))
    assert length > 200
    for cut in cuts_of(length, 1000 if is_long else RESPONSE_CUTS, kind):
        # A small window: the server cannot hand all of the response to the kernel.
        with _connect(server, receive_bytes=2048) as connection:
            connection.sendall(request)
            received = 0
            with suppress(ConnectionError):
                while received < cut and (piece := connection.recv(min(cut - received, 4096))):
                    received += len(piece)
            if cut % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_only_expected_statuses_were_logged(server: Any) -> None:
    lines = [json.loads(line) for line in server.log.splitlines() if '"sightline.access"' in line]
    assert len(lines) > 100
    # A cut request is 499, or malformed as far as it came.
    assert {line["status"] for line in lines} <= {200, 400, 404, 408, 413, 415, 422, 429, 499}
