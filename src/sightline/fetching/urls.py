"""The URLs that are fetched, decided by their text alone. The backend checks the host's addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from sightline.errors import UrlRefused

DEFAULT_PORTS = {"http": 80, "https": 443}
# Longest request line common servers read (nginx, Apache); signed storage URLs stay well below.
MAX_CHARACTERS = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AUTHORITY = re.compile(r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{0,5}))?")
_HOST_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_IP_LITERAL = re.compile(r"[0-9a-f.]*:[0-9a-f:.]+(?:%[a-z0-9._~-]+)?")
_MAX_HOST_CHARACTERS = 253  # RFC 1035, written without the last dot
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_QUERY_SAFE = _PATH_SAFE + "?"
_MALFORMED = "The URL is not well-formed."
_INVALID_HOST = "The URL's host name is not valid."


@dataclass(frozen=True, slots=True)
class FetchUrl:
    """A URL that may be asked for, taken apart once; the request is built from these parts, never from text.

    Attributes:
        scheme: ``http`` or ``https``.
        host: what the resolver is asked: lowercase ASCII, an IPv6 literal without its brackets.
        port: the one named, or the scheme's own.
        target: path and query, percent-encoded, without the fragment.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str, ports: tuple[int, ...]) -> Self:
        """Take ``url`` apart.

        Raises:
            UrlRefused: naming the rule that ``url`` breaks.
        """
        parts = _split(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise UrlRefused("Only http and https URLs are fetched.")
        if "@" in parts.netloc:
            raise UrlRefused("A URL with a user name or password is not fetched.")
        authority = _AUTHORITY.fullmatch(parts.netloc)
        if authority is None:
            raise UrlRefused(_MALFORMED)
        host = _host(authority["literal"], authority["name"])
        port = int(authority["port"] or DEFAULT_PORTS[parts.scheme])
        if port not in ports:
            named = ", ".join(map(str, ports)) or "none"
            raise UrlRefused(f"The URL's port is not allowed; allowed ports: {named}.")
        return cls(parts.scheme, host, port, _target(parts))

    def redirect(self, location: str, ports: tuple[int, ...]) -> FetchUrl:
        """Where a ``Location`` header leads, relative or not.

        Raises:
            UrlRefused: the rules of :meth:`parse`, or the step goes from https to http.
        """
        try:
            joined = urljoin(str(self), location)
        except ValueError:
            raise UrlRefused(_MALFORMED) from None
        following = self.parse(joined, ports)
        if self.scheme == "https" and following.scheme == "http":
            raise UrlRefused("A redirect from https to http is not followed.")
        return following

    @property
    def server_name(self) -> str:
        """Return the host name that the certificate must match: no last dot, no zone."""
        return self.host.partition("%")[0].removesuffix(".")

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        name = f"[{self.server_name}]" if ":" in self.host else self.server_name
        return name if self.port == DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def _split(url: str) -> SplitResult:
    url = url.strip(" ")
    if len(url) > MAX_CHARACTERS:
        raise UrlRefused(f"The URL is longer than {MAX_CHARACTERS} characters.")
    # urlsplit would drop tabs and line ends without a word.
    if _CONTROL.search(url):
        raise UrlRefused("The URL contains control characters.")
    try:
        url.encode("utf-8")  # a lone surrogate is text in JSON and nowhere else
        return urlsplit(url)
    except ValueError:
        raise UrlRefused(_MALFORMED) from None


def _host(literal: str | None, name: str) -> str:
    if literal is not None:
        host = literal.lower().replace("%25", "%", 1)  # RFC 6874: the zone's percent sign is itself encoded
        if not _IP_LITERAL.fullmatch(host):
            raise UrlRefused(_INVALID_HOST)
        return host
    if not name:
        raise UrlRefused("The URL names no host.")
    host = name.lower() if name.isascii() else _to_ascii(name)
    if len(host.removesuffix(".")) > _MAX_HOST_CHARACTERS or not _HOST_NAME.fullmatch(host):
        raise UrlRefused(_INVALID_HOST)
    return host


def _to_ascii(name: str) -> str:
    """The wire form of an international name, by the rules browsers use (UTS 46)."""
    try:
        return idna.encode(name[: _MAX_HOST_CHARACTERS + 1], uts46=True).decode("ascii")
    except UnicodeError:
        raise UrlRefused(_INVALID_HOST) from None


def _target(parts: SplitResult) -> str:
    # "%" is safe: what is encoded already stays as it is, what should have been is encoded now.
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    return f"{path}?{quote(parts.query, safe=_QUERY_SAFE)}" if parts.query else path
