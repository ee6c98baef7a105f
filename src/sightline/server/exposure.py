"""Who can reach a server, by its settings."""

from __future__ import annotations

import errno
import ipaddress
import socket

from sightline.errors import ConfigurationError
from sightline.server.keys import asks_for_keys
from sightline.settings import Settings


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def key_guards_all(settings: Settings) -> bool:
    """Return whether every route but probes and pages needs a key."""
    return asks_for_keys(settings) and "/" in settings.protected_routes


def only_loopback_protects(settings: Settings) -> bool:
    """Return whether some route needs no key and only this machine reaches it.

    The pages in this machine's browser reach it, too.
    """
    return is_loopback(settings.host) and not key_guards_all(settings)


def refuse_open_public_address(settings: Settings) -> None:
    """Refuse to listen where others reach routes that need no key, unless the settings say so.

    Raises:
        ConfigurationError: a public address without a key for all routes and without ``insecure``.
    """
    if key_guards_all(settings) or settings.insecure or is_loopback(settings.host):
        return
    lacking = (
        "SIGHTLINE_PROTECTED_ROUTES leaves routes open" if asks_for_keys(settings) else "no API key is set"
    )
    raise ConfigurationError(
        f"{settings.host} can be reached by others and {lacking}: run `sightline keys create NAME` or set "
        "SIGHTLINE_API_KEYS, listen on 127.0.0.1, or say --insecure if a proxy in front does the checking"
    )


def refuse_taken_port(settings: Settings) -> None:
    """Refuse to start where another program listens, before anything is loaded.

    Raises:
        ConfigurationError: the port is in use, or may not be used.
    """
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                return  # uvicorn says what is wrong with the address
            reason = "in use by another program" if error.errno == errno.EADDRINUSE else "not allowed"
            raise ConfigurationError(
                f"port {settings.port} is {reason}; expected a free one. Run: sightline serve --port "
                f"{max(settings.port + 1, 1024)} (or set SIGHTLINE_PORT)"
            ) from None
