"""How the server listens, who may ask, and how often; and the replaced services' own settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings

from sightline.settings.fields import AUTO, MIB, ImageEmbedModels, Names, Networks, Secrets


def _default_keys_file() -> Path:
    return Path.home() / ".config" / "sightline" / "keys.json"


class ServingSettings(BaseSettings):
    """Addresses, keys, rate limits, connections and logs."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        8000, ge=0, le=65535, validation_alias=AliasChoices("SIGHTLINE_PORT", "PORT"), description="Port."
    )
    api_keys: Secrets = Field(
        (),
        validation_alias=AliasChoices("SIGHTLINE_API_KEYS", "API_KEY"),
        description="Keys accepted in X-API-Key or as a bearer token, comma-separated. Empty: no key asked.",
    )
    keys_file: Path = Field(
        default_factory=lambda: _default_keys_file(),
        description="File of named keys, which `sightline keys` writes. If it exists, requests need a key.",
    )
    protected_routes: Names = Field(
        ("/",),
        description="Paths that need a key, each with all below it, e.g. /api,/v1; /: all. Probes and /docs "
        "never do.",
    )
    insecure: bool = Field(False, description="Allow a public address without an API key.")
    v1_origins: Names = Field((), description="Origins whose pages may call /v1, comma-separated; *: any.")
    trusted_proxies: Networks = Field(
        (), description="Proxies (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    rate_limits: Names = Field(
        (),
        description="Requests per client to a path and all below it, comma-separated, e.g. "
        "/v1=100/minute,/v1/analyze=5/second; without a path: all routes together.",
    )
    key_rate_limits: Names = Field((), description="The same per API key.")
    rate_limit_store: str = Field(
        "memory",
        description="Where requests are counted: memory, for each server alone, or the address of a Redis "
        "that servers share, e.g. redis://127.0.0.1:6379/0.",
    )
    allowed_hosts: Names = Field(
        (),
        validation_alias=AliasChoices("SIGHTLINE_ALLOWED_HOSTS", "ALLOWED_HOSTS"),
        description="Names this server answers to, e.g. example.org,*.example.org; *: any. Empty: any, but "
        "on a loopback address without an API key only localhost and that address.",
    )
    force_https: bool = Field(
        False,
        validation_alias=AliasChoices("SIGHTLINE_FORCE_HTTPS", "FORCE_HTTPS"),
        description="Send plain HTTP to https://, and tell browsers to stay there. Probes are answered.",
    )
    enable_docs: bool = Field(
        True,
        validation_alias=AliasChoices("SIGHTLINE_ENABLE_DOCS", "ENABLE_API_DOCS"),
        description="Serve /docs, /redoc and /openapi.json, without a key.",
    )
    web_pages: bool = Field(
        True,
        description="Serve the pages /, /models, /collections and /library to browsers. They need no key to "
        "open.",
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal.")
    tracing: bool = Field(
        False,
        description="Send traces by OpenTelemetry, which the extra otel adds. OTEL_EXPORTER_OTLP_ENDPOINT "
        "and the other OTEL_* variables say where and how.",
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections open at the same time; health checks get 32 more."
    )
    max_connections_per_address: int = Field(
        250, ge=0, description="The same for one client address that is not a trusted proxy. 0: no limit."
    )
    header_max_bytes: int = Field(
        32 * 1024, ge=1024, description="Bytes of a request line and its headers together."
    )
    header_timeout_s: float = Field(
        10.0, gt=0, description="Time in which a request line and its headers must arrive."
    )
    write_timeout_s: float = Field(
        30.0, gt=0, description="How long a client may read nothing of its response."
    )
    keep_alive_s: float = Field(
        5.0, gt=0, description="How long an idle connection is kept for the next request."
    )
    shutdown_grace_s: float = Field(20.0, ge=0, description="How long requests under way may still take.")
    lame_duck_s: float = Field(5.0, ge=0, description="Serve on after SIGTERM, not ready, this long.")


class ReplacedServicesSettings(BaseSettings):
    """Settings of one replaced service each. Their names are those services' own where they had one."""

    csrf_secrets: Secrets = Field(
        (),
        validation_alias=AliasChoices("SIGHTLINE_CSRF_SECRETS", "CSRF_SECRET"),
        description="Secrets of CSRF tokens, comma-separated, newest first. Empty: a random one per process.",
    )
    cors_origins: Names = Field(
        (),
        validation_alias=AliasChoices("SIGHTLINE_CORS_ORIGINS", "NEXTJS_DOMAIN"),
        description="Origins whose pages may call /api, e.g. https://example.org, comma-separated.",
    )
    api_limits: Names = Field(
        ("50/hour", "200/day"), description="Requests to /api per client, all routes together; off: no limit."
    )
    geolocate_limits: Names = Field(
        ("10/minute",), description="Requests to /api/geolocate per client; off: no limit."
    )
    allowed_origins: Names = Field(
        AUTO,
        validation_alias=AliasChoices("SIGHTLINE_ALLOWED_ORIGINS", "ALLOWED_ORIGINS"),
        description="Origins whose pages may call the atlas-backend's routes; *: any. auto: any, but none "
        "while only a loopback address protects them (no API key).",
    )
    rate_limit_requests: int = Field(
        60,
        ge=0,
        validation_alias=AliasChoices("SIGHTLINE_RATE_LIMIT_REQUESTS", "RATE_LIMIT_REQUESTS"),
        description="Requests per client to the atlas-backend's routes in one window; 0: no limit.",
    )
    rate_limit_window_s: int = Field(
        60,
        ge=1,
        validation_alias=AliasChoices("SIGHTLINE_RATE_LIMIT_WINDOW_S", "RATE_LIMIT_WINDOW_SECONDS"),
        description="Seconds of that window.",
    )
    speciesnet_version: str | None = Field(
        None,
        description="Release of SpeciesNet on the atlas-backend's routes, e.g. v4.0.1a. None: the newest.",
    )
    image_embed_models: ImageEmbedModels = Field(
        ImageEmbedModels.CONTRACT,
        description="Models of /analyze_image/ and /analyze_image_upload/ where a task names none. contract: "
        "those which that service ran, so that vectors can be compared with stored ones. small: the faster "
        "defaults of /v1.",
    )
    classify_max_bytes: int = Field(50 * MIB, ge=1, description="Bytes of one image sent to /classify.")
