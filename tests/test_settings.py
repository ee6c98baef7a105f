from __future__ import annotations

import ast
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

import sightline
from sightline.settings import (
    DetectorPrecision,
    GraphRuntime,
    ImageEmbedModels,
    Precision,
    Settings,
    described,
    unused_variables,
)

SOURCE = Path(sightline.__file__).parent

# Another value than the default for every field, as somebody would write it into the environment.
WRITTEN: dict[str, tuple[str, Any]] = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "api_keys": ("one, two", (SecretStr("one"), SecretStr("two"))),
    "csrf_secrets": ("new, old", (SecretStr("new"), SecretStr("old"))),
    "cors_origins": ("https://a.example,https://b.example", ("https://a.example", "https://b.example")),
    "trusted_proxies": ("10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    "api_limits": ("5/minute, 7/day", ("5/minute", "7/day")),
    "geolocate_limits": ("off", ("off",)),
    "allowed_origins": ("https://a.example, *", ("https://a.example", "*")),
    "rate_limit_requests": ("7", 7),
    "rate_limit_window_s": ("90", 90),
    "allowed_hosts": ("example.org, *.example.org", ("example.org", "*.example.org")),
    "force_https": ("true", True),
    "speciesnet_version": ("v4.0.1a", "v4.0.1a"),
    "gemini_api_key": ("AIza-x", SecretStr("AIza-x")),
    "gemini_model": ("gemini-y", "gemini-y"),
    "gemini_base_url": ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    "vlm_base_url": ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
    "vlm_model": ("llava", "llava"),
    "vlm_api_key": ("sk-x", SecretStr("sk-x")),
    "ask_timeout_s": ("90", 90.0),
    "ask_image_max_side": ("768", 768),
    "insecure": ("1", True),
    "enable_docs": ("false", False),
    "web_pages": ("false", False),
    "rate_limit_store": ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    "decode_workers": ("3", 3),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "shutdown_grace_s": ("3.5", 3.5),
    "lame_duck_s": ("7", 7.0),
    "models_dir": ("/models", Path("/models")),
    "collections_dir": ("/srv/collections", Path("/srv/collections")),
    "collections_source": ("https://collections.example", "https://collections.example"),
    "train_max_images": ("50", 50),
    "train_max_jobs": ("2", 2),
    "plugins_dir": ("/plugins", Path("/plugins")),
    "label_sets": ("/sets.toml", Path("/sets.toml")),
    "offline": ("true", True),
    "auto_pull": ("0", False),
    "prefer": ("qwen3.5-0.8b", ("qwen3.5-0.8b",)),
    "tracing": ("yes", True),
    "libraries_dir": ("/srv/libraries", Path("/srv/libraries")),
    "library_space": ("siglip", "siglip"),
    "keys_file": ("/etc/keys.json", Path("/etc/keys.json")),
    "protected_routes": ("/api, /v1", ("/api", "/v1")),
    "v1_origins": ("https://a.example, *", ("https://a.example", "*")),
    "rate_limits": ("/v1=100/minute, 5/second", ("/v1=100/minute", "5/second")),
    "key_rate_limits": ("1000/day", ("1000/day",)),
    "image_embed_models": ("small", ImageEmbedModels.SMALL),
    "allow_random_weights": ("1", True),
    "hub_endpoint": ("https://mirror.example", "https://mirror.example"),
    "hub_token": ("hf_x", SecretStr("hf_x")),
    "download_mirror": ("https://mirror.example", "https://mirror.example"),
    "preload": ("a,b", ("a", "b")),
    "idle_unload_s": ("60", 60.0),
    "memory_budget_mib": ("2048", 2048),
    "graph_runtime": ("onnxruntime", GraphRuntime.ONNXRUNTIME),
    "device": ("cuda", "cuda"),
    "precision": ("bf16", Precision.BF16),
    "detector_precision": ("auto", DetectorPrecision.AUTO),
    "threads": ("3", 3),
    "compute_slots": ("2", 2),
    "worker_threads": ("5", 5),
    "queue_items": ("10", 10),
    "queue_mib": ("100", 100),
    "decoded_mib": ("300", 300),
    "memory_refuse_percent": ("80", 80.0),
    "memory_drop_percent": ("85.5", 85.5),
    "text_cache_mib": ("0", 0),
    "request_timeout_s": ("12.5", 12.5),
    "max_connections": ("20", 20),
    "max_connections_per_address": ("0", 0),
    "header_max_bytes": ("2048", 2048),
    "header_timeout_s": ("3", 3.0),
    "write_timeout_s": ("4", 4.0),
    "keep_alive_s": ("6", 6.0),
    "rehearse": ("1", True),
    "request_min_bytes_per_s": ("1", 1),
    "request_bodies_mib": ("64", 64),
    "image_max_bytes": ("1000", 1000),
    "image_max_pixels": ("2000", 2000),
    "image_max_side": ("300", 300),
    "image_tiff": ("no", False),
    "image_avif": ("0", False),
    "image_heic": ("false", False),
    "classify_max_bytes": ("3000", 3000),
    "request_max_bytes": ("4000", 4000),
    "request_max_images": ("5", 5),
    "request_max_tasks": ("6", 6),
    "fetch_timeout_s": ("7", 7.0),
    "fetch_connect_timeout_s": ("1.5", 1.5),
    "fetch_dns_timeout_s": ("1", 1.0),
    "fetch_idle_timeout_s": ("2", 2.0),
    "fetch_max_redirects": ("0", 0),
    "fetch_ports": ("80, 8080", (80, 8080)),
    "koop_contact": ("https://example.org", "https://example.org"),
    "koop_search_url": ("https://search.example/sru", "https://search.example/sru"),
    "koop_reader_url": ("https://reader.example", "https://reader.example"),
    "koop_attachments_url": ("https://files.example/exb", "https://files.example/exb"),
    "koop_texts_from": ("repository", "repository"),
    "koop_rate_per_s": ("0.5", 0.5),
    "koop_max_rate_per_s": ("0.6", 0.6),
    "koop_burst": ("10", 10),
    "koop_concurrency": ("2", 2),
    "koop_file_max_bytes": ("5000", 5000),
    "koop_page_timeout_s": ("5", 5.0),
    "koop_document_timeout_s": ("60", 60.0),
    "koop_day_timeout_s": ("3600", 3600.0),
    "koop_patience_s": ("600", 600.0),
    "fetch_allow_networks": ("10.0.0.0/8, fd00::/8", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
}
LEGACY = [
    ("PORT", "port", "7860", 7860),
    ("API_KEY", "api_keys", "secret", (SecretStr("secret"),)),
    ("CSRF_SECRET", "csrf_secrets", "s, older", (SecretStr("s"), SecretStr("older"))),
    ("NEXTJS_DOMAIN", "cors_origins", "https://yourdomain.com", ("https://yourdomain.com",)),
    ("ENABLE_API_DOCS", "enable_docs", "false", False),
    ("HF_ENDPOINT", "hub_endpoint", "https://mirror.example", "https://mirror.example"),
    ("HF_TOKEN", "hub_token", "hf_x", SecretStr("hf_x")),
    ("ALLOWED_ORIGINS", "allowed_origins", "https://a.example", ("https://a.example",)),
    ("ALLOWED_HOSTS", "allowed_hosts", "example.org,www.example.org", ("example.org", "www.example.org")),
    ("RATE_LIMIT_REQUESTS", "rate_limit_requests", "9", 9),
    ("RATE_LIMIT_WINDOW_SECONDS", "rate_limit_window_s", "30", 30),
    ("FORCE_HTTPS", "force_https", "true", True),
    ("GOOGLE_API_KEY", "gemini_api_key", "AIza", SecretStr("AIza")),
    ("GEMINI_API_KEY", "gemini_api_key", "AIza", SecretStr("AIza")),
    ("GEMINI_MODEL", "gemini_model", "gemini-1.5-flash", "gemini-1.5-flash"),
    ("GOOGLE_GEMINI_BASE_URL", "gemini_base_url", "https://proxy.example", "https://proxy.example"),
    ("OPENAI_BASE_URL", "vlm_base_url", "https://api.example/v1", "https://api.example/v1"),
    ("OPENAI_MODEL", "vlm_model", "m", "m"),
    ("OPENAI_API_KEY", "vlm_api_key", "sk", SecretStr("sk")),
]


@pytest.fixture(autouse=True)
def _no_docs_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENABLE_API_DOCS", raising=False)


def test_every_field_is_tried_here() -> None:
    assert set(WRITTEN) == set(Settings.model_fields)


@pytest.mark.parametrize("field", list(Settings.model_fields))
def test_every_field_is_set_by_its_variable(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, expected = WRITTEN[field]
    assert getattr(Settings(), field) != expected
    monkeypatch.setenv(f"SIGHTLINE_{field.upper()}", written)
    assert getattr(Settings(), field) == expected


@pytest.mark.parametrize("field", list(Settings.model_fields))
def test_every_field_is_set_by_name_and_described(field: str) -> None:
    expected = WRITTEN[field][1]
    assert getattr(Settings(**{field: expected}), field) == expected
    assert Settings.model_fields[field].description


@pytest.mark.parametrize(("variable", "field", "written", "expected"), LEGACY)
def test_variables_of_the_replaced_services_are_accepted(
    variable: str, field: str, written: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, written)
    assert getattr(Settings(), field) == expected


@pytest.mark.parametrize(("variable", "field", "written", "expected"), LEGACY)
def test_our_own_variable_wins(
    variable: str, field: str, written: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, written)
    monkeypatch.setenv(f"SIGHTLINE_{field.upper()}", WRITTEN[field][0])
    assert getattr(Settings(), field) == WRITTEN[field][1]


def test_google_s_own_name_of_the_key_wins_over_gemini_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "second")
    monkeypatch.setenv("GOOGLE_API_KEY", "first")
    assert Settings().gemini_api_key == SecretStr("first")


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.setenv(f"SIGHTLINE_{field.upper()}", "")
    assert Settings() == Settings(_env_file=None)
    assert Settings().port == 8000


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("port", "eighty"),
        ("port", "70000"),
        ("log_format", "xml"),
        ("queue_items", "0"),
        ("precision", "f8"),
        ("fetch_ports", "80,http"),
        ("fetch_allow_networks", "10.0.0.1/8"),
        ("request_timeout_s", "0"),
        ("offline", "maybe"),
    ],
)
def test_a_bad_value_is_refused_by_name(field: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SIGHTLINE_{field.upper()}", written)
    with pytest.raises(ValidationError, match=f"(?i){field}"):
        Settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_API_KEYS", "s3cret")
    monkeypatch.setenv("SIGHTLINE_HUB_TOKEN", "hf_s3cret")
    assert "s3cret" not in repr(Settings())


def test_a_dotenv_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SIGHTLINE_PORT=8100\nSIGHTLINE_DEVICE=cuda\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("SIGHTLINE_PORT", "8200")
    assert (Settings().port, Settings().device) == (8200, "cuda")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def _reads_environment(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            return any(alias.name in {"environ", "environb", "getenv"} for alias in node.names)
    return False


def test_nothing_else_reads_the_environment() -> None:
    """The command line may set variables for what it starts, and the package those that silence libraries.
    Processes that decode images, draw PDFs and generate text get the few that Python itself needs. systemd's
    protocol passes its addresses in variables."""
    children = ("imaging/pdf.py", "imaging/isolation.py", "runtime/generation/__init__.py")
    exempt = ("__init__.py", "settings/__init__.py", "cli/", "server/systemd.py", *children)
    readers = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if _reads_environment(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert [reader for reader in readers if not reader.startswith(exempt)] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os\nos.environ['X']", True),
        ("from os import getenv", True),
        ("import os\nos.getcwd()", False),
    ],
)
def test_a_reader_of_the_environment_is_recognised(code: str, expected: bool) -> None:
    assert _reads_environment(ast.parse(code)) is expected


def test_every_setting_is_described_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_API_KEYS", "hunter2-hunter2")
    monkeypatch.setenv("SIGHTLINE_THREADS", "7")
    found = {each.variables[0]: each for each in described(Settings(_env_file=None))}
    assert len(found) == len(Settings.model_fields)
    assert all(each.meaning for each in found.values())
    assert found["SIGHTLINE_API_KEYS"].value == "set"
    assert (found["SIGHTLINE_THREADS"].value, found["SIGHTLINE_THREADS"].default) == ("7", "0")
    assert "hunter2" not in repr(found)


def test_misspelt_variables_are_found() -> None:
    given = {"SIGHTLINE_PORT": "1", "SIGHTLINE_PROT": "1", "PORT": "1", "HOME": "/", "SIGHTLINE_": ""}
    empty, misspelt = unused_variables(given)
    assert empty.startswith("SIGHTLINE_ ")
    assert misspelt.startswith("SIGHTLINE_PROT ")
    assert "SIGHTLINE_PORT?" in misspelt
    assert unused_variables({"SIGHTLINE_API_KEY": "the command line's", "API_KEY": "k"}) == []


def test_variables_of_replaced_services_without_effect_are_named() -> None:
    found = unused_variables({"MODEL_NAME_CLIP": "RN50x16", "FLASK_ENV": "development", "API_KEY": ""})
    assert [each.split()[0] for each in found] == ["API_KEY", "FLASK_ENV", "MODEL_NAME_CLIP"]


def test_misspelt_variables_of_the_env_file_are_found_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIGHTLINE_THREDS=3\nSIGHTLINE_PORT=8123\nOTHER=1\n")
    (complaint,) = unused_variables()
    assert complaint.startswith("SIGHTLINE_THREDS ")
