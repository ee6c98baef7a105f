"""Every setting, read once from the environment and passed in. Nothing else reads the environment.

Names are ``SIGHTLINE_<FIELD>``; where a replaced service had a variable of its own for the same thing,
that name is accepted too. A ``.env`` file in the working directory is read when it is there.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr
from pydantic.functional_validators import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Precision(StrEnum):
    """Arithmetic inside a graph. ``AUTO`` is bf16 where the processor computes in it, else f32."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


class DetectorPrecision(StrEnum):
    """``MEASURED`` is f32 unless a kept measurement of the installed weights allows what ``AUTO`` means."""

    MEASURED = "measured"
    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


class ImageEmbedModels(StrEnum):
    """Which models answer on the image-embed service's routes where a task names none."""

    CONTRACT = "contract"
    SMALL = "small"


class GraphRuntime(StrEnum):
    """Which library runs ONNX graphs. ``AUTO`` is OpenVINO on CPUs and ONNX Runtime on anything else."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


def _split(value: object) -> object:
    """``"a, b"`` → ``("a", "b")``: lists in the environment are comma-separated."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
Ports = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]

# Of ``allowed_origins``: what is safe where the server listens.
AUTO = ("auto",)
MIB = 1024 * 1024


def _default_models_dir() -> Path:
    return Path.home() / ".cache" / "sightline"


class Settings(BaseSettings):
    """The whole configuration of one process. Figures are the table of docs/limits.md unless noted."""

    model_config = SettingsConfigDict(
        env_prefix="SIGHTLINE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # Serving
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        8000, ge=0, le=65535, validation_alias=AliasChoices("SIGHTLINE_PORT", "PORT"), description="Port."
    )
    api_keys: Secrets = Field(
        (),
        validation_alias=AliasChoices("SIGHTLINE_API_KEYS", "API_KEY"),
        description="Keys accepted in X-API-Key or as a bearer token, comma-separated. Empty: no key asked.",
    )
    protected_routes: Names = Field(
        ("/",),
        description="Paths that need a key, each with all below it, e.g. /api,/v1; /: all. Probes and /docs "
        "never do.",
    )
    insecure: bool = Field(False, description="Allow a public address without an API key.")
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
        True, description="Serve the pages /, /models and /collections to browsers. They need no key to open."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal.")
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

    # Models
    models_dir: Path = Field(default_factory=_default_models_dir, description="Where model files lie.")
    collections_dir: Path | None = Field(
        None, description="Where classifiers of collections lie. None: collections/ in the models folder."
    )
    collections_source: str = Field(
        "https://crawlr.lawrenz.com",
        description="Service that collections and their examples come from when no other source is named.",
    )
    train_max_images: int = Field(1000, ge=10, description="Images of one training over HTTP.")
    train_max_jobs: int = Field(
        4, ge=1, description="Trainings over HTTP that may be under way, all but one waiting."
    )
    plugins_dir: Path | None = Field(None, description="Folder with models/*.py and operations/*.py.")
    label_sets: Path | None = Field(
        None, description="TOML file with label sets of your own; docs/zero-shot.md says how."
    )
    offline: bool = Field(False, description="Open no outbound socket for weights.")
    auto_pull: bool = Field(True, description="Download a model's missing weights when it is first needed.")
    rehearse: bool = Field(
        False,
        description="Answer every operation with tiny made-up models and no download, for developers of "
        "clients. Answers mean nothing and are marked.",
    )
    allow_random_weights: bool = Field(False, description="Load models with random weights; marked as such.")
    hub_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias=AliasChoices("SIGHTLINE_HUB_ENDPOINT", "HF_ENDPOINT"),
        description="Hub or mirror that hub files come from.",
    )
    hub_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_HUB_TOKEN", "HF_TOKEN"),
        description="Token for gated hub files.",
    )
    download_mirror: str | None = Field(
        None,
        description="Mirror of all other hosts: https://host/path is fetched from this address + /host/path.",
    )
    preload: Names = Field((), description="Models to load at start and keep loaded, or 'all'.")
    idle_unload_s: float = Field(0.0, ge=0, description="Unload a model unused this long. 0: never.")
    memory_budget_mib: int = Field(
        0, ge=0, description="Unload least recently used models past this. 0: off."
    )

    # Vision-language models
    gemini_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
        description="Key of Google AI Studio. None: Gemini is not asked, and nothing is sent to Google.",
    )
    gemini_model: str = Field(
        "gemini-3.8-flash",
        min_length=1,
        validation_alias=AliasChoices("SIGHTLINE_GEMINI_MODEL", "GEMINI_MODEL"),
        description="Which Gemini answers.",
    )
    gemini_base_url: str = Field(
        "https://generativelanguage.googleapis.com",
        pattern="^https?://",
        validation_alias=AliasChoices("SIGHTLINE_GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
        description="Where Gemini is asked.",
    )
    vlm_base_url: str | None = Field(
        None,
        pattern="^https?://",
        validation_alias=AliasChoices("SIGHTLINE_VLM_BASE_URL", "OPENAI_BASE_URL"),
        description="Server with an OpenAI-compatible API, e.g. http://127.0.0.1:11434/v1 for Ollama.",
    )
    vlm_model: str | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_VLM_MODEL", "OPENAI_MODEL"),
        description="Name of the model on that server.",
    )
    vlm_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_VLM_API_KEY", "OPENAI_API_KEY"),
        description="Key of that server, if it asks for one.",
    )
    ask_timeout_s: float = Field(
        60.0, gt=0, description="Longest an answer of a vision-language model may take, a retry included."
    )
    # Two tiles of 768 pixels each way, the unit in which Gemini's documentation counts images.
    ask_image_max_side: int = Field(
        1536, ge=64, description="Longer side, in pixels, that images are reduced to before they are sent."
    )

    # Computing
    graph_runtime: GraphRuntime = Field(GraphRuntime.AUTO, description="auto, openvino or onnxruntime.")
    device: str = Field(
        "cpu",
        description="cpu, cuda, or another device name of the graph runtime. auto: an NVIDIA GPU if "
        "onnxruntime-gpu and a driver are installed, else the CPU.",
    )
    precision: Precision = Field(
        Precision.AUTO, description="auto, f32, bf16 or f16; ONNX Runtime computes as the file says."
    )
    detector_precision: DetectorPrecision = Field(
        DetectorPrecision.MEASURED,
        description="The same for detectors of persons, things and animals. f32 draws the reference's boxes; "
        "auto is almost twice as fast where the processor computes in bf16, and moves some boxes by pixels. "
        "measured: f32, until `sightline models drift NAME PHOTOS --keep` finds that they move too little to "
        "matter.",
    )
    threads: int = Field(
        0, ge=0, description="Threads that compute, all slots together. 0: one per usable core."
    )
    compute_slots: int = Field(1, ge=1, le=64, description="Batches computed at the same time.")
    decode_workers: int = Field(
        -1,
        ge=-1,
        le=64,
        description="Processes that decode images, under limits and without network. -1: one per core, "
        "2 to 8. 0: decode in the server's process, which a damaged image can then end.",
    )
    worker_threads: int = Field(0, ge=0, description="Threads that decode and resize. 0: usable cores + 2.")
    queue_items: int = Field(64, ge=1, description="Items that may wait per model.")
    queue_mib: int = Field(512, ge=1, description="Megabytes that waiting items may keep per model.")
    decoded_mib: int = Field(
        0,
        ge=0,
        description="Megabytes of decoded pictures, 4 bytes per pixel, in the whole process; more wait. "
        "0: a quarter of the memory limit, at least 512.",
    )
    memory_refuse_percent: float = Field(
        90.0,
        gt=0,
        le=100,
        description="Percent of the memory limit from which new pictures and loads are refused with 503 and "
        "idle models unloaded one by one. 100: never.",
    )
    memory_drop_percent: float = Field(
        95.0,
        gt=0,
        le=100,
        description="Percent of the memory limit from which every idle model and the text cache are dropped. "
        "100: never.",
    )
    text_cache_mib: int = Field(
        16, ge=0, description="Megabytes of text vectors kept, so that known texts are not computed. 0: off."
    )
    request_timeout_s: float = Field(30.0, gt=0, description="Longest a request may take, queueing included.")

    # Images and requests
    image_max_bytes: int = Field(25 * MIB, ge=1, description="Bytes of one image.")
    image_max_pixels: int = Field(50_000_000, ge=1, description="Width × height of one image.")
    image_max_side: int = Field(30_000, ge=1, description="Longer side of one image, in pixels.")
    image_tiff: bool = Field(True, description="Accept TIFF images. Off: they are refused unread.")
    image_avif: bool = Field(True, description="Accept AVIF images. Off: they are refused unread.")
    image_heic: bool = Field(True, description="Accept HEIC images. Off: they are refused unread.")
    classify_max_bytes: int = Field(50 * MIB, ge=1, description="Bytes of one image sent to /classify.")
    request_max_bytes: int = Field(64 * MIB, ge=1, description="Bytes of one request body.")
    request_min_bytes_per_s: int = Field(
        16 * 1024, ge=1, description="Slowest rate at which a request body may arrive."
    )
    request_bodies_mib: int = Field(
        512, ge=1, description="Megabytes of request bodies under way at the same time."
    )
    request_max_images: int = Field(16, ge=1, description="Images in one request.")
    request_max_tasks: int = Field(64, ge=1, description="Tasks in one request.")

    # Fetching images by URL
    fetch_timeout_s: float = Field(10.0, gt=0, description="Whole fetch, redirects included.")
    fetch_connect_timeout_s: float = Field(3.0, gt=0, description="Connecting, TLS included.")
    fetch_dns_timeout_s: float = Field(2.0, gt=0, description="Resolving a name.")
    fetch_idle_timeout_s: float = Field(5.0, gt=0, description="Silence between two pieces of a body.")
    fetch_max_redirects: int = Field(3, ge=0, description="Redirects followed, each checked again.")
    fetch_ports: Ports = Field((80, 443), description="Ports a URL may name.")
    fetch_allow_networks: Networks = Field((), description="Private networks (CIDR) that URLs may reach.")

    # The archive of Dutch official publications (KOOP)
    koop_contact: str | None = Field(
        None, description="URL or mail address at which the archive finds you; sent with every request."
    )
    koop_search_url: str = Field("https://repository.overheid.nl/sru", description="The archive's search.")
    koop_reader_url: str = Field(
        "https://zoek.officielebekendmakingen.nl",
        description="The archive's site for readers, which has the illustrations.",
    )
    koop_attachments_url: str = Field(
        "https://repository.officiele-overheidspublicaties.nl/externebijlagen",
        description="The archive's folder of external attachments.",
    )
    koop_texts_from: str = Field(
        "reader",
        pattern="^(reader|repository)$",
        description="Whether texts come from the site for readers or from the repository, as records say.",
    )
    koop_rate_per_s: float = Field(
        0.85, gt=0, description="Requests per second to each host of the archive, to begin with."
    )
    koop_max_rate_per_s: float = Field(
        0.95, gt=0, description="Most requests per second to each host of the archive."
    )
    koop_burst: int = Field(
        50, ge=1, description="Requests a host of the archive may get at once after a rest."
    )
    koop_concurrency: int = Field(
        4, ge=1, le=16, description="Publications worked on, and requests to one host, at the same time."
    )
    koop_patience_s: float = Field(
        1800.0, gt=0, description="Longest wait for a host of the archive that gives no answer at all."
    )
    koop_file_max_bytes: int = Field(100 * MIB, ge=1, description="Bytes of one text, image or PDF.")
    koop_page_timeout_s: float = Field(20.0, gt=0, description="Longest that drawing one PDF page may take.")
    koop_document_timeout_s: float = Field(120.0, gt=0, description="Longest that drawing one PDF may take.")
    koop_day_timeout_s: float = Field(
        43_200.0, gt=0, description="Longest that one day's publications may take."
    )


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as people read it: ``value`` and ``default`` as they would be written in the environment."""

    variables: tuple[str, ...]
    value: str
    default: str
    meaning: str


def described(settings: Settings) -> list[Described]:
    """Every setting in the order of the class. Secrets are "set" or "none"."""
    return [
        Described(
            variables=_variables(name, field.validation_alias),
            value=_written(getattr(settings, name)),
            default="~/.cache/sightline" if name == "models_dir" else _written(field.get_default()),
            meaning=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


# Variables of replaced services that change nothing here, and what to do instead.
REPLACED_VARIABLES: Mapping[str, str] = {
    "FLASK_ENV": "there is no development mode; SIGHTLINE_LOG_LEVEL=debug logs more",
    "MODEL_NAME_CLIP": "a request chooses the model: parameter 'model' of embed_clip",
}
# Variables that only the command line reads.
CLIENT_VARIABLES = frozenset({"SIGHTLINE_API_KEY"})


def unused_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with variables that look like settings and are not used, a sentence each.

    ``environment``: by default that of the process and the ``.env`` file, which Settings reads too.
    """
    if environment is None:
        environment = {**_env_file(), **os.environ}
    known = CLIENT_VARIABLES | {
        variable
        for name, field in Settings.model_fields.items()
        for variable in _variables(name, field.validation_alias)
    }
    found = []
    for name in sorted(environment):
        if name.startswith("SIGHTLINE_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "; `sightline settings` lists them"
            found.append(f"{name} is not a setting and changes nothing{hint}")
        elif name in REPLACED_VARIABLES:
            found.append(f"{name} changes nothing here: {REPLACED_VARIABLES[name]}")
        elif name in ("SIGHTLINE_API_KEYS", "API_KEY") and not environment[name].strip(" ,"):
            found.append(f"{name} is empty: no key is asked for")
    return found


def _env_file() -> dict[str, str]:
    path = Path(str(Settings.model_config.get("env_file")))
    return (
        {name: value or "" for name, value in dotenv_values(path, encoding="utf-8").items()}
        if path.is_file()
        else {}
    )


def _variables(name: str, alias: Any) -> tuple[str, ...]:
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (f"SIGHTLINE_{name.upper()}",)


def _written(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, SecretStr) or (isinstance(value, tuple) and isinstance(value[0], SecretStr)):
        return "set"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
