"""Published files at fixed addresses, in torch's cache of downloads or fetched into it."""

from __future__ import annotations

import hashlib
import logging
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from huggingface_hub import constants

from sightline.errors import DigestMismatch, SightlineError, SourceMissing, SourceUnreachable

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 5.0


def fetch_any(urls: Sequence[str]) -> Path:
    """The first of several addresses of the same thing that is in the cache, else the first that answers.

    Raises as :func:`fetch` does for the first of them.
    """
    for url in urls:
        path = _cached(_name(url))
        if path.is_file():
            return path
    failures: list[SightlineError] = []
    for url in urls:
        try:
            return fetch(url)
        except (SourceMissing, SourceUnreachable) as error:
            failures.append(error)
    raise failures[0]


def fetch(url: str, name: str | None = None) -> Path:
    """One file, under ``name`` or the last part of its address.

    Raises:
        SourceUnreachable: it is not in the cache and does not come.
        SourceMissing: there is no such file at that address.
    """
    name = name or _name(url)
    path = _cached(name)
    if path.is_file():
        return path
    host = url.split("/")[2]
    # The hub's switch is what `sightline models export` sets for every exporter; torch has none of its own.
    if constants.HF_HUB_OFFLINE:
        raise SourceUnreachable(f"{name} is not in torch's cache of downloads, and this is offline mode")
    _require_file(url, host, name)
    _log.info("fetching %s from %s", name, host)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, urllib.error.URLError) as error:
        raise SourceUnreachable(f"{name} could not be fetched: {type(error).__name__}") from error
    return path


def require_digest(data: bytes, wanted: str, name: str) -> None:
    """Raises DigestMismatch unless the sha256 of ``data`` is ``wanted``, in hex of either case."""
    found = hashlib.sha256(data).hexdigest()
    if found != wanted.lower():
        raise DigestMismatch(f"{name} has sha256 {found} and not {wanted.lower()}")


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _cached(name: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _require_file(url: str, host: str, name: str) -> None:
    """Ask once, with little patience: torch's download has no time-out.

    By GET, unread: an address that one is sent on to may be signed for that alone.
    """
    try:
        urllib.request.urlopen(url, timeout=_PATIENCE_S).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        kind = SourceMissing if error.code in (404, 410) else SourceUnreachable
        raise kind(f"{host} answers {error.code} for {name}") from None
    except OSError:
        raise SourceUnreachable(
            f"{host} does not answer, and {name} is not in torch's cache of downloads"
        ) from None
