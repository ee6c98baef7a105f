"""Traces: spans of a request, their parents, and that they reach a collector."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sightline.errors import ExtraMissing
from sightline.server.app import create_app
from sightline.settings import Settings

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The requests that a collector of OTLP over HTTP has received."""
    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


def spans(received: list[Any]) -> dict[str, Any]:
    return {
        span.name: span
        for request in received
        for resource in request.resource_spans
        for scoped in resource.scope_spans
        for span in scoped.spans
    }


def test_spans_reach_a_collector_and_continue_the_trace_they_came_with(
    collector: list[Any], serve, portrait: bytes
) -> None:
    client = serve(tracing=True)
    parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    asked = "/v1/operations/detect_faces"
    assert client.post(asked, files={"image": portrait}, headers=parent, timeout=60).status_code == 200
    assert client.post(asked, files={"image": b"no image"}, timeout=60).status_code == 415
    while len(spans(collector)) < 5 or not any(
        attribute.value.int_value == 415
        for request in collector
        for span in request.resource_spans[0].scope_spans[0].spans
        for attribute in span.attributes
    ):
        threading.Event().wait(0.05)  # pytest's own time limit ends what never comes
    every = [
        span
        for request in collector
        for resource in request.resource_spans
        for scoped in resource.scope_spans
        for span in scoped.spans
        if span.trace_id.hex() == TRACE
    ]
    by_name = {span.name: span for span in every}
    root = by_name[f"POST {asked}"]
    assert root.parent_span_id.hex() == PARENT
    assert {"load", "decode", "queue", "infer"} <= set(by_name)
    for name in ("decode", "queue", "infer"):
        assert by_name[name].parent_span_id == root.span_id
        assert root.start_time_unix_nano <= by_name[name].start_time_unix_nano
        assert by_name[name].end_time_unix_nano <= root.end_time_unix_nano + 1_000_000
    named = {each.key: each.value.string_value for each in collector[0].resource_spans[0].resource.attributes}
    assert named["service.name"] == "sightline"


@pytest.mark.parametrize("header", ["", "x", "00-0-0-01", f"ff-{TRACE}-{PARENT}-01", "\u00e9" * 50])
def test_a_traceparent_that_is_none_is_ignored(collector: list[Any], serve, header: str) -> None:
    client = serve(tracing=True)
    assert client.get("/livez", headers={"traceparent": header.encode("latin-1")}).status_code == 200


def test_a_collector_that_is_not_there_delays_nobody(serve, portrait: bytes, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    client = serve(tracing=True)
    answer = client.post("/v1/operations/detect_faces", files={"image": portrait}, timeout=60)
    assert answer.status_code == 200


def test_without_the_extra_the_start_says_how_to_add_it(settings: Settings, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sightline.server.tracing", None)
    with pytest.raises(ExtraMissing):
        create_app(settings.model_copy(update={"tracing": True}))


def test_nothing_imports_the_library_otherwise() -> None:
    code = "import sys, sightline.server.app; assert 'opentelemetry.sdk.trace' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
