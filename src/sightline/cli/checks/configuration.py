"""The settings: whether they are readable, and those that someone may have forgotten about."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.cli.checks import Finding, State

if TYPE_CHECKING:
    from sightline.settings import Settings

_AREA = "settings"


def unreadable(message: str) -> Finding:
    return Finding(_AREA, "environment", State.BROKEN, message, "correct the variable, or unset it")


def check(settings: Settings) -> Iterator[Finding]:
    from sightline.server.keys import asks_for_keys

    yield _changed(settings)
    if not _is_local(settings.host) and not asks_for_keys(settings):
        yield _exposed(settings)
    if settings.offline:
        yield _notice(
            "SIGHTLINE_OFFLINE", "missing weights are never downloaded", "unset it to allow downloads"
        )
    elif not settings.auto_pull:
        text = "missing weights are only downloaded by `sightline models pull`"
        yield _notice("SIGHTLINE_AUTO_PULL", text, "unset it to download when first needed")
    if settings.allow_random_weights:
        text = "models with random weights answer, and what they say means nothing"
        yield _notice("SIGHTLINE_ALLOW_RANDOM_WEIGHTS", text, "unset it on anything but a test")
    if settings.fetch_allow_networks:
        networks = ", ".join(map(str, settings.fetch_allow_networks))
        text = f"whoever may send a URL can reach {networks} through this server"
        yield _notice("SIGHTLINE_FETCH_ALLOW_NETWORKS", text, "keep it as narrow as can be")
    if settings.plugins_dir is not None and not settings.plugins_dir.is_dir():
        yield Finding(
            _AREA, "SIGHTLINE_PLUGINS_DIR", State.BROKEN, f"{settings.plugins_dir} is no folder",
            "correct it, or unset it",
        )  # fmt: skip


def _changed(settings: Settings) -> Finding:
    names = sorted(
        name
        for name in settings.model_fields_set
        if getattr(settings, name) != type(settings).model_fields[name].get_default(call_default_factory=True)
    )
    source = " and .env" if Path(".env").is_file() else ""
    if not names:
        return Finding(_AREA, "environment", State.OK, f"all defaults (environment{source})")
    listed = ", ".join(f"{name}={_shown(getattr(settings, name))}" for name in names)
    return Finding(_AREA, "environment", State.OK, f"changed by the environment{source}: {listed}")


def _shown(value: object) -> str:
    """Secrets print themselves as stars; lists are comma-separated as in the environment."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _exposed(settings: Settings) -> Finding:
    fix = "SIGHTLINE_API_KEYS=…, or SIGHTLINE_HOST=127.0.0.1"
    if settings.insecure:
        return _notice("SIGHTLINE_INSECURE", f"anyone who reaches {settings.host} may ask without a key", fix)
    text = f"{settings.host} is public and there is no key: `sightline serve` refuses to start"
    return Finding(_AREA, "SIGHTLINE_HOST", State.BROKEN, text, fix)


def _notice(subject: str, text: str, fix: str) -> Finding:
    return Finding(_AREA, subject, State.NOTICE, text, fix)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
