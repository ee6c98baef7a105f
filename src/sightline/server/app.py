"""The ASGI application and the process that serves it.

A request passes, outermost first: trusted proxies, security headers, forms of errors, request log, host names
and HTTPS, CORS, pages of other sites, API key, rate limits, body limits, routes. All but the routes are plain
ASGI, outside FastAPI, so they hold for every response. Their rules are those of ``CONTRACTS``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sightline import __version__
from sightline.collections import Collections
from sightline.errors import ExtraMissing
from sightline.extras import how_to_add
from sightline.imaging.isolation import workers
from sightline.jobs.collections.trainings import Trainings
from sightline.jobs.libraries.opened import OpenLibraries
from sightline.libraries import Shelf
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.readiness import readiness_of, summary
from sightline.server import docs_page, problems, refusal_schemas, schemas
from sightline.server.connections import ClientDisconnected
from sightline.server.contracts import CONTRACTS, PROBES
from sightline.server.csrf import CsrfTokens
from sightline.server.exposure import only_loopback_protects, refuse_open_public_address, refuse_taken_port
from sightline.server.keys import KeyRing, asks_for_keys
from sightline.server.logs import configure_logging
from sightline.server.lookout import Lookout
from sightline.server.metrics import Metrics
from sightline.server.middleware.api_key import ApiKey
from sightline.server.middleware.body_limit import BodyBudget, BodyLimit
from sightline.server.middleware.cors import Cors
from sightline.server.middleware.error_forms import ErrorForms
from sightline.server.middleware.foreign_pages import ForeignPages
from sightline.server.middleware.hosts import LOOPBACK_HOSTS, HttpsRedirect, TrustedHosts
from sightline.server.middleware.rate_limit import RateLimit, by_route
from sightline.server.middleware.request_log import RequestLog
from sightline.server.middleware.security_headers import SecurityHeaders
from sightline.server.open_connections import ConnectionLimits, OpenConnections
from sightline.server.process import BACKLOG, Server, connections_within
from sightline.server.protocol import BoundedProtocol
from sightline.server.state import AppState, state_of_app
from sightline.server.web_page import CONTENT_SECURITY_POLICIES, WebPages
from sightline.settings import MIB, Settings, unused_variables

if TYPE_CHECKING:
    from sightline.server.tracing import Tracing

_log = logging.getLogger(__name__)

# nginx's word for "the client went away before the answer"; only ever seen in logs and metrics.
CLIENT_CLOSED_REQUEST = 499


def create_app(settings: Settings) -> FastAPI:
    """Routes over a new analyzer. What ``create_asgi`` wraps; on its own it has no limits and no keys.

    Raises:
        ConfigurationError: a setting or plug-in is wrong.
    """
    metrics = Metrics(_tracing(settings))
    analyzer = Analyzer.create(settings, metrics)
    metrics.attach(analyzer.engine, analyzer.operations)
    # The analyzer's settings: a rehearsal must not touch the user's collections.
    kept = Collections.from_settings(analyzer.settings)
    trainings = Trainings(analyzer, kept, max_jobs=settings.train_max_jobs)
    lookout = Lookout()
    libraries = OpenLibraries(Shelf(analyzer.settings.libraries_dir))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with analyzer, trainings, lookout:
            yield
        libraries.close()
        if metrics.tracing is not None:
            await asyncio.to_thread(metrics.tracing.close)

    app = FastAPI(
        title="Sightline",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.enable_docs else None,
    )
    AppState(analyzer, metrics, trainings, lookout, CsrfTokens(settings.csrf_secrets), libraries).attach(app)
    problems.install(app)
    schemas.install(
        app,
        analyzer.operations,
        needs_key=asks_for_keys(settings),
        complete=lambda document: refusal_schemas.complete(document, CONTRACTS),
    )
    for contract in CONTRACTS:
        for router in (*contract.routers, *contract.operation_routers(analyzer.operations)):
            app.include_router(router)
    if settings.enable_docs:
        docs_page.install(app)

    @app.exception_handler(ClientDisconnected)
    async def nobody_to_answer(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    return app


def _tracing(settings: Settings) -> Tracing | None:
    """Raises ExtraMissing: traces are wanted, and the library for them is not installed."""
    if not settings.tracing:
        return None
    try:
        from sightline.server.tracing import Tracing
    except ImportError as error:
        raise ExtraMissing(f"SIGHTLINE_TRACING needs OpenTelemetry; {how_to_add('otel')}") from error
    return Tracing()


def wrapped(app: FastAPI, settings: Settings) -> ASGIApp:
    """The app behind its middleware, as it is served.

    Raises:
        ConfigurationError: a key, an origin, a host or a rate limit that cannot be one.
    """
    wrapped: ASGIApp = BodyLimit(
        app,
        max_bytes=settings.request_max_bytes,
        min_bytes_per_s=settings.request_min_bytes_per_s,
        budget=BodyBudget(settings.request_bodies_mib * MIB),
        max_bytes_by_prefix=dict(
            limit for contract in CONTRACTS for limit in contract.max_body_bytes(settings).items()
        ),
    )
    wrapped = RateLimit(
        wrapped,
        rates_by_prefix={
            **dict(rates for contract in CONTRACTS for rates in contract.rates(settings).items()),
            **by_route(settings.rate_limits, "SIGHTLINE_RATE_LIMITS"),
        },
        key_rates_by_prefix=by_route(settings.key_rate_limits, "SIGHTLINE_KEY_RATE_LIMITS"),
        free_paths=PROBES,
        store=settings.rate_limit_store,
    )
    wrapped = ApiKey(
        wrapped,
        keys=KeyRing.from_settings(settings),
        routes=settings.protected_routes,
        open_paths=PROBES,
        open_prefixes=[
            prefix for contract in CONTRACTS if not contract.needs_key for prefix in contract.prefixes
        ],
        rules=[rule for contract in CONTRACTS for rule in contract.scope_rules],
    )
    if settings.web_pages:
        wrapped = WebPages(wrapped)
    if only_loopback_protects(settings):
        wrapped = ForeignPages(wrapped)
    wrapped = _answering_to_pages(wrapped, settings)
    if settings.force_https:
        wrapped = HttpsRedirect(wrapped, free_paths=PROBES)
    wrapped = _answering_to_its_names(wrapped, settings)
    wrapped = _outermost(wrapped, app, settings)
    if (tracing := state_of_app(app).metrics.tracing) is not None:
        wrapped = tracing.around(wrapped)
    proxies = [str(network) for network in settings.trusted_proxies]
    return cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, wrapped), trusted_hosts=proxies))


def _outermost(inner: ASGIApp, app: FastAPI, settings: Settings) -> ASGIApp:
    """What every response passes, also a refusal from below the app: headers, log line, metrics."""
    logged = RequestLog(inner, observe=state_of_app(app).metrics.request_finished)
    forms = {contract.prefixes: contract.write_error for contract in CONTRACTS}
    return SecurityHeaders(
        ErrorForms(logged, by_prefixes=forms),
        policy_by_path={**docs_page.CONTENT_SECURITY_POLICIES, **CONTENT_SECURITY_POLICIES},
        https_only=settings.force_https,
    )


def _answering_to_pages(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the app with CORS for the pages of the settings, per contract."""
    for contract in CONTRACTS:
        if origins := contract.origins(settings):
            app = Cors(
                app,
                prefix=contract.prefixes,
                paths=contract.pages_paths,
                origins=origins.allowed,
                any_origin=origins.may_be_any,
                setting=origins.setting,
            )
    return app


def _answering_to_its_names(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The app for the names of the settings. Without any, a server that only this machine reaches and that
    asks for no key is kept from pages that come by a name of their own."""
    if settings.allowed_hosts:
        return TrustedHosts(app, hosts=settings.allowed_hosts, free_paths=PROBES)
    if not only_loopback_protects(settings):
        return app
    hosts = {*LOOPBACK_HOSTS, settings.host.strip("[]")}
    return TrustedHosts(app, hosts=hosts, free_paths=PROBES, only_on_loopback=True)


def create_asgi(settings: Settings | None = None) -> ASGIApp:
    """What any ASGI server can run: ``uvicorn --factory sightline.server.app:create_asgi``."""
    if settings is None:
        settings = Settings()
        for complaint in unused_variables():
            _log.warning(complaint)
    return wrapped(create_app(settings), settings)


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    SIGTERM makes ``/readyz`` answer 503 at once, serves on for ``lame_duck_s``, then lets requests under way
    finish within ``shutdown_grace_s``; the rest get 503. SIGINT skips the lame duck. A second signal ends the
    process at once.

    Raises:
        ConfigurationError: a public address without an API key and without ``insecure``; a wrong setting.
    """
    configure_logging(settings)
    refuse_open_public_address(settings)
    refuse_taken_port(settings)
    app = create_app(settings)
    config = server_config(app, settings)
    for complaint in unused_variables():
        _log.warning(complaint)
    state = state_of_app(app)
    if workers(state.analyzer.limits.decode_workers) is None:
        _log.warning(
            "images are decoded in this process: a damaged one can end it (SIGHTLINE_DECODE_WORKERS)"
        )
    if settings.allow_random_weights:
        _log.warning("random weights are allowed: answers of such models mean nothing and are marked")
    if settings.rehearse:
        _log.warning("rehearsal: every answer is made up and says so; nothing is downloaded")
    else:
        for line in summary(readiness_of(state.analyzer)):
            _log.info("%s", line)
    Server(
        config,
        settings,
        begin_drain=lambda: setattr(state, "draining", True),
        is_alive=lambda: state.analyzer.engine.alive,
        first_question=_first_question(state.analyzer),
    ).run()


def _first_question(analyzer: Analyzer) -> str:
    """Return the path of an operation that answers a photo now, without parameters and without a download."""
    for entry in readiness_of(analyzer):
        operation = analyzer.operations[entry.operation]
        if entry.ready and operation.needs_picture and not analyzer.needs_params(operation.name):
            return f"/v1/operations/{operation.name}"
    return "/v1/analyze"


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Uvicorn's configuration for this app: its middleware, and the bounds on connections.

    Raises:
        ConfigurationError: see :func:`wrapped`.
    """
    metrics = state_of_app(app).metrics
    register = OpenConnections(
        ConnectionLimits(
            max_connections=connections_within(settings.max_connections),
            max_per_address=settings.max_connections_per_address,
            head_max_bytes=settings.header_max_bytes,
            head_timeout_s=settings.header_timeout_s,
            write_timeout_s=settings.write_timeout_s,
            proxies=settings.trusted_proxies,
        ),
        lambda refusing: _outermost(refusing, app, settings),
        probes=PROBES,
        observe_end=metrics.connection_ended,
    )
    metrics.count_connections(register)
    return uvicorn.Config(
        wrapped(app, settings),
        host=settings.host.strip("[]"),
        port=settings.port,
        http=cast(Any, partial(BoundedProtocol, register=register)),
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `wrapped` does it, for the proxies of the settings; uvicorn would trust more
        timeout_keep_alive=cast(int, settings.keep_alive_s),  # only added to a time, so it may be a float
    )
