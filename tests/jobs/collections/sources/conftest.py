"""A collections service on loopback, and patience that is short."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import numpy as np
import pytest

from sightline.fetching import FetchPolicy
from sightline.jobs.collections.sources.documents import Patience
from sightline.settings import Settings


@dataclass
class Service:
    """``pages`` by path: JSON-able data, ready-made bytes, or a list of (status, bytes) to be used up."""

    pages: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        page = self.pages.get(path)
        if page is None:
            return 404, b"gone"
        if isinstance(page, list) and page and isinstance(page[0], tuple):
            return page.pop(0)
        return 200, page if isinstance(page, bytes) else json.dumps(page).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients close connections when they have heard enough."""


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = found.answer(self.path)
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if "Transfer-Encoding" not in found.headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # whoever asked may have had enough
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Test output is for tests."""

    server = _Server(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def patience() -> Patience:
    return Patience(timeout_s=5.0, idle_timeout_s=2.0, attempts=3, pause_s=0.001, longest_pause_s=0.002)


@pytest.fixture
def policy() -> FetchPolicy:
    """That of the settings, with loopback opened."""
    return FetchPolicy.from_settings(Settings(fetch_allow_networks=(ip_network("127.0.0.0/8"),)))


@pytest.fixture
def labelled() -> Callable[..., list[dict[str, Any]]]:
    """Training data as the service lists it: two clouds that can be told apart."""

    def make(count: int = 60, dimensions: int = 8, seed: int = 0) -> list[dict[str, Any]]:
        generator = np.random.default_rng(seed)
        labels = [number % 3 == 0 for number in range(count)]
        return [
            {"embedding": [round(float(x), 6) for x in generator.normal(4.0 * label, 1.0, dimensions)],
             "label": label}
            for label in labels
        ]  # fmt: skip

    return make
