"""The list of hosts that may be asked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Self
from urllib.parse import urljoin

from sightline.errors import ConfigurationError, DocumentRefused, UrlRefused
from sightline.fetching.urls import DEFAULT_PORTS, FetchUrl

_ANY_PORT = tuple(range(1, 65536))
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host and a port: what rates, connections and permissions belong to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The origin of a URL.

        Raises:
            ConfigurationError: no URL, or plain http to anything but this machine.
        """
        try:
            origin = cls.of(FetchUrl.parse(text, _ANY_PORT))
        except UrlRefused as error:
            raise ConfigurationError(f"{text[:_SHOWN_CHARACTERS]!r} is no archive's URL: {error}") from None
        if origin.scheme != "https" and not origin.is_loopback:
            raise ConfigurationError(f"an archive must be asked over https, not as {origin}")
        return origin

    @classmethod
    def of(cls, url: FetchUrl) -> Self:
        return cls(url.scheme, url.server_name, url.port)

    @property
    def is_loopback(self) -> bool:
        """This machine, and named in a way that no name server has a say in."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{name}" + (
            "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        )


def admit(url: str, origins: Collection[Origin]) -> FetchUrl:
    """``url`` taken apart, if its host may be asked. Plain http to an https host becomes https.

    Raises:
        DocumentRefused: it may not, or ``url`` is none.
    """
    try:
        parsed = FetchUrl.parse(url, _ANY_PORT)
    except UrlRefused as error:
        raise DocumentRefused(f"{url[:_SHOWN_CHARACTERS]!r} is not fetched: {error}") from None
    secure = replace(parsed, scheme="https", port=443)
    if parsed.scheme == "http" and parsed.port == 80 and Origin.of(secure) in origins:
        parsed = secure  # old records, and hosts behind a proxy that do not know their own scheme
    if Origin.of(parsed) not in origins:
        raise DocumentRefused(
            f"{url[:_SHOWN_CHARACTERS]!r} is not fetched: {Origin.of(parsed)} is not on the list of hosts"
        )
    return parsed


def follow(url: FetchUrl, location: str, origins: Collection[Origin]) -> FetchUrl:
    """Where a redirect from ``url`` leads, under the rules of :func:`admit`.

    Raises:
        DocumentRefused: somewhere that is not on the list, or from https to http.
    """
    try:
        joined = urljoin(str(url), location)
    except ValueError:
        raise DocumentRefused(
            f"{str(url)[:_SHOWN_CHARACTERS]} redirects to something that is no URL"
        ) from None
    following = admit(joined, origins)
    if url.scheme == "https" and following.scheme != "https":
        raise DocumentRefused(f"{str(url)[:_SHOWN_CHARACTERS]} redirects from https to http")
    return following
