"""Traces by OpenTelemetry, an optional part: what each request waited for.

A request is a span of kind server that continues the ``traceparent`` it came with. Below it are ``fetch``,
``decode``, ``queue``, ``infer`` and ``load``. Where spans go is said by the usual ``OTEL_*`` variables, which
the library reads.
"""

from __future__ import annotations

import time
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline import __version__

# Longest that the end of the process waits for spans to be sent.
_FLUSH_TIMEOUT_MS = 2_000
_NS = 1_000_000_000


class Tracing:
    """Makes spans of requests and their steps.

    Args:
        exporter: where spans go; by default OTLP over HTTP.
    """

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        named = Resource.create({SERVICE_VERSION: __version__})
        if str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            named = named.merge(Resource({SERVICE_NAME: "sightline"}))
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("sightline", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def step(self, name: str, model: str, started_s: float, ended_s: float) -> None:
        """Add a span below that of the running request. Times are ``time.monotonic()`` seconds."""
        parent = trace.get_current_span().get_span_context()
        if not parent.is_valid:
            return
        zero_ns = time.time_ns() - time.monotonic_ns()
        attributes = {"sightline.model": model} if model else None
        span = self._tracer.start_span(name, start_time=zero_ns + int(started_s * _NS), attributes=attributes)
        span.end(zero_ns + int(ended_s * _NS))

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return the app with a span for each HTTP request."""
        return _Requests(app, self._tracer, self._propagator)

    def close(self) -> None:
        """Send what is left, for at most two seconds."""
        self._provider.force_flush(_FLUSH_TIMEOUT_MS)
        self._provider.shutdown()


class _Requests:
    def __init__(self, app: ASGIApp, tracer: trace.Tracer, propagator: TraceContextTextMapPropagator) -> None:
        self._app, self._tracer, self._propagator = app, tracer, propagator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        span = self._tracer.start_span(
            scope["method"],
            context=self._propagator.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
        )
        token = contexts.attach(trace.set_span_in_context(span))

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = int(message["status"])
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            contexts.detach(token)
            _describe(span, scope)
            span.end()


def _describe(span: Any, scope: Scope) -> None:
    """Add what is known only at the end: the route's template. The address may tell of photos."""
    route = getattr(scope.get("route"), "path", None)
    if route:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    if identity := scope.get("state", {}).get("request_id"):
        span.set_attribute("sightline.request_id", identity)
