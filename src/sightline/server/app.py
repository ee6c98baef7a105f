"""The ASGI application and the process that serves it.

A request passes, outermost first: trusted proxies, security headers, request log, host names and HTTPS, CORS,
API key, rate limits, body limits, routes. All but the routes are plain ASGI, outside FastAPI, so that they
hold for every response there is.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sightline import __version__
from sightline.collections import Collections
from sightline.errors import ConfigurationError
from sightline.jobs.collections.trainings import Trainings
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.readiness import Readiness, readiness, summary
from sightline.server import docs_page, problems, schemas
from sightline.server.connections import ClientDisconnected
from sightline.server.csrf import CsrfTokens
from sightline.server.logs import configure_logging
from sightline.server.lookout import Lookout
from sightline.server.metrics import Metrics
from sightline.server.middleware.api_key import OPEN_PATHS, ApiKey
from sightline.server.middleware.body_limit import BodyLimit
from sightline.server.middleware.cors import Cors
from sightline.server.middleware.hosts import LOOPBACK_HOSTS, HttpsRedirect, TrustedHosts
from sightline.server.middleware.rate_limit import RateLimit
from sightline.server.middleware.request_log import RequestLog
from sightline.server.middleware.security_headers import SecurityHeaders
from sightline.server.routes import collections, health, places, v1
from sightline.server.routes.compat import atlas, clip_classifier, geoclip, image_embed
from sightline.settings import Settings, unknown_variables

_log = logging.getLogger(__name__)

ROUTERS = (
    health.router,
    v1.router,
    places.router,
    collections.router,
    image_embed.router,
    geoclip.router,
    clip_classifier.router,
    atlas.router,
)
# nginx's word for "the client went away before the answer"; only ever seen in logs and metrics.
CLIENT_CLOSED_REQUEST = 499


def create_app(settings: Settings) -> FastAPI:
    """Routes over a new analyzer. What ``create_asgi`` wraps; on its own it has no limits and no keys.

    Raises:
        ConfigurationError: a setting or plug-in is wrong.
    """
    metrics = Metrics()
    analyzer = Analyzer.create(settings, metrics)
    metrics.attach(analyzer.engine, analyzer.operations)
    # The analyzer's settings: a rehearsal must not touch the user's collections.
    kept = Collections.from_settings(analyzer.settings)
    trainings = Trainings(analyzer, kept, max_jobs=settings.train_max_jobs)
    lookout = Lookout()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with analyzer, trainings, lookout:
            yield

    app = FastAPI(
        title="Sightline",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.enable_docs else None,
    )
    app.state.analyzer = analyzer
    app.state.metrics = metrics
    app.state.trainings = trainings
    app.state.lookout = lookout
    app.state.draining = False
    app.state.csrf = CsrfTokens(settings.csrf_secrets)
    problems.install(app)
    schemas.install(app, analyzer.operations)
    for router in (*ROUTERS, v1.operation_router(analyzer.operations)):
        app.include_router(router)
    if settings.enable_docs:
        docs_page.install(app)

    @app.exception_handler(ClientDisconnected)
    async def nobody_to_answer(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    return app


def wrapped(app: FastAPI, settings: Settings) -> ASGIApp:
    """The app behind its middleware, as it is served.

    Raises:
        ConfigurationError: a key, an origin, a host or a rate limit that cannot be one.
    """
    wrapped: ASGIApp = BodyLimit(
        app,
        max_bytes=settings.request_max_bytes,
        max_bytes_by_prefix={
            clip_classifier.ROUTE: clip_classifier.max_body_bytes(settings),
            **{
                prefix: min(settings.request_max_bytes, max_bytes)
                for prefix, max_bytes in {
                    geoclip.ROUTE: geoclip.MAX_BODY_BYTES,
                    **atlas.MAX_BODY_BYTES_BY_PREFIX,
                }.items()
            },
        },
    )
    wrapped = RateLimit(
        wrapped,
        rates_by_prefix={
            geoclip.PREFIX: settings.api_limits,
            geoclip.ROUTE: settings.geolocate_limits,
            atlas.PREFIXES: atlas.rates(settings),
        },
        free_paths=OPEN_PATHS,
    )
    wrapped = ApiKey(wrapped, keys=settings.api_keys)
    wrapped = Cors(wrapped, prefix=geoclip.PREFIX, origins=settings.cors_origins)
    wrapped = Cors(
        wrapped,
        prefix=atlas.PREFIXES,
        paths=("/", atlas.HEALTH),
        origins=settings.allowed_origins,
        any_origin=True,
        setting="SIGHTLINE_ALLOWED_ORIGINS (ALLOWED_ORIGINS)",
    )
    if settings.force_https:
        wrapped = HttpsRedirect(wrapped, free_paths=OPEN_PATHS)
    wrapped = _answering_to_its_names(wrapped, settings)
    wrapped = RequestLog(wrapped, observe=app.state.metrics.request_finished)
    wrapped = SecurityHeaders(
        wrapped, policy_by_path=docs_page.CONTENT_SECURITY_POLICIES, https_only=settings.force_https
    )
    proxies = [str(network) for network in settings.trusted_proxies]
    return cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, wrapped), trusted_hosts=proxies))


def _answering_to_its_names(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The app for the names of the settings. Without any, a server that only this machine reaches and that
    asks for no key is kept from pages that come by a name of their own."""
    if settings.allowed_hosts:
        return TrustedHosts(app, hosts=settings.allowed_hosts, free_paths=OPEN_PATHS)
    if settings.api_keys or not _is_loopback(settings.host):
        return app
    hosts = {*LOOPBACK_HOSTS, settings.host.strip("[]")}
    return TrustedHosts(app, hosts=hosts, free_paths=OPEN_PATHS, only_on_loopback=True)


def create_asgi(settings: Settings | None = None) -> ASGIApp:
    """What any ASGI server can run: ``uvicorn --factory sightline.server.app:create_asgi``."""
    settings = settings or Settings()
    return wrapped(create_app(settings), settings)


def serve(settings: Settings) -> None:
    """Serve until told to stop.

    SIGTERM makes ``/readyz`` answer 503 at once, serves on for ``lame_duck_s``, then lets requests under way
    finish within ``shutdown_grace_s``. SIGINT skips the lame duck. A second signal ends it now.

    Raises:
        ConfigurationError: a public address without an API key and without ``insecure``; a wrong setting.
    """
    configure_logging(settings)
    _refuse_open_public_address(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        wrapped(app, settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `wrapped` does it, for the proxies of the settings; uvicorn would trust more
        timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_s)),
    )
    if unknown := unknown_variables():
        _log.warning("these variables are no settings and change nothing: %s", ", ".join(unknown))
    if settings.allow_random_weights:
        _log.warning("random weights are allowed: answers of such models mean nothing and are marked")
    if settings.rehearse:
        _log.warning("rehearsal: every answer is made up and says so; nothing is downloaded")
    else:
        for line in summary(_readiness(app.state.analyzer)):
            _log.info("%s", line)
    _Server(config, settings, begin_drain=lambda: setattr(app.state, "draining", True)).run()


def _readiness(analyzer: Analyzer) -> list[Readiness]:
    return readiness(analyzer.operations.values(), analyzer.models, analyzer.store, analyzer.settings)


class _Server(uvicorn.Server):
    """Uvicorn with a lame-duck time between SIGTERM and closing the door."""

    def __init__(self, config: uvicorn.Config, settings: Settings, begin_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._lame_duck_s = settings.lame_duck_s
        self._has_docs = settings.enable_docs
        self._begin_drain = begin_drain
        self._signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            docs = f", or open {base}/docs" if self._has_docs else ""
            _log.info("ready: try curl -F image=@photo.jpg %s/v1/analyze%s", base, docs)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn's own would raise the signal again at the end, and the process exit with 143 instead of 0.
        self._begin_drain()
        lame_duck_s = self._lame_duck_s if sig == signal.SIGTERM and not self._signalled else 0.0
        self._signalled = True
        if lame_duck_s:
            _log.info("draining: not ready from now, closing in %.0f s", lame_duck_s)
            asyncio.get_event_loop().call_later(lame_duck_s, self._close_door)
        else:
            self.force_exit = self.should_exit
            self._close_door()

    def _close_door(self) -> None:
        self.should_exit = True


def _refuse_open_public_address(settings: Settings) -> None:
    if settings.api_keys or settings.insecure or _is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"{settings.host} can be reached by others and no API key is set: set SIGHTLINE_API_KEYS, "
        "listen on 127.0.0.1, or say --insecure if a proxy in front does the checking"
    )


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
