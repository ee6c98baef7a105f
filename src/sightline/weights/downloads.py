"""Resumable downloads over http and https.

A download lies in ``NAME.part`` with ``NAME.part.json`` (its validator and length) beside it until its
digest is verified, and continues there after a broken connection or a killed process (RFC 9110, 13.1.5
and 14.2: ``If-Range``, ``Range``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

import httpx2

from sightline.errors import (
    ConfigurationError,
    DigestMismatch,
    OfflineRefused,
    SourceMissing,
    SourceUnreachable,
)
from sightline.weights.folders import require_space
from sightline.weights.manifest import sha256_of
from sightline.weights.parts import Part, Unusable
from sightline.weights.sources import HubFile, Report, UrlFile

_MAX_REDIRECTS = 5
_RETRIED_STATUSES = frozenset({408, 416, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may keep us waiting. ``attempts`` counts tries in a row that bring no new byte.

    A server may ask for a pause of up to ``longest_pause_s`` (Retry-After) before each of them.
    """

    connect_timeout_s: float = 4.0
    read_timeout_s: float = 20.0
    attempts: int = 3
    pause_s: float = 0.4
    longest_pause_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected digest or size of a file. A known digest decides alone; else the exact size is checked."""

    sha256: str | None = None
    size_bytes: int | None = None

    def check(self, sha256: str, size_bytes: int) -> None:
        """Raises DigestMismatch."""
        if self.sha256 is not None:
            if sha256 != self.sha256:
                raise DigestMismatch(f"its sha256 is {sha256[:16]}… instead of {self.sha256[:16]}…")
        elif self.size_bytes not in (None, size_bytes):
            raise DigestMismatch(f"it has {size_bytes} bytes instead of {self.size_bytes}")


class Downloads:
    """One session of downloads. The hub's token goes to the hub's origin and nowhere else.

    ``mirror`` stands in for all other hosts: https://host/path is fetched from {mirror}/host/path.

    An origin that cannot be reached is asked once per session: a card with five files on it fails as fast
    as a card with one.
    """

    def __init__(
        self,
        *,
        hub_endpoint: str,
        hub_token: str | None,
        offline: bool,
        mirror: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._hub = hub_endpoint.rstrip("/")
        self._hub_origin = _origin(_parse(self._hub))
        self._hub_token = hub_token
        self._mirror = None if mirror is None else _trusted(mirror)
        self.offline = offline
        self._patience = patience or Patience()
        self._silent_origins: set[str] = set()
        self._opened: httpx2.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    def fetch(
        self, source: HubFile | UrlFile, destination: Path, expected: Expected, label: str, report: Report
    ) -> str:
        """Bring the file to ``destination`` and return its sha256. Nothing unverified ever lies there.

        Raises:
            OfflineRefused: offline mode; no socket was opened.
            SourceUnreachable: no answer, or only errors a retry may cure.
            SourceMissing: the server says that there is no such file, or not for us.
            DigestMismatch: the bytes are not the expected ones; they are thrown away.
            WeightsError: the disk is full.
        """
        if self.offline:
            raise OfflineRefused("offline mode")
        url = _parse(self._url(source))
        part = Part(destination, pinned=expected.sha256 is not None)
        require_space(destination.parent, max(0, (expected.size_bytes or 0) - part.size))
        for last in (False, True):
            resumed = part.size > 0
            announced = self._transfer_patiently(url, part, label, report, source, expected)
            digest, size = sha256_of(part.path), part.size
            try:
                Expected(expected.sha256 or announced, expected.size_bytes).check(digest, size)
            except DigestMismatch:
                part.discard()
                # Two halves of different files: the server changed it in between, or ignored If-Range.
                if resumed and not last:
                    continue
                raise
            part.finish()
            return digest
        raise AssertionError("unreachable")

    def _url(self, source: HubFile | UrlFile) -> str:
        if isinstance(source, UrlFile):
            return source.url if self._mirror is None else mirrored(source.url, self._mirror)
        return f"{self._hub}/{source.repo}/resolve/{quote(source.revision, safe='')}/{quote(source.path)}"

    def _transfer_patiently(
        self,
        url: httpx2.URL,
        part: Part,
        label: str,
        report: Report,
        source: HubFile | UrlFile,
        expected: Expected,
    ) -> str | None:
        """Retry until the part is complete. Returns the sha256 the hub announced for the file, if any."""
        if _origin(url) in self._silent_origins:
            raise SourceUnreachable(f"{_name(url)} did not answer")
        fruitless = 0
        while True:
            before = part.size
            try:
                return self._transfer(
                    url, part, label, report, expected, use_token=isinstance(source, HubFile)
                )
            except (httpx2.RequestError, _TryAgain, Unusable) as error:
                fruitless = 1 if part.size > before else fruitless + 1
                silent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                # Waiting out a connect time-out a third time would only make an unplugged machine slower.
                if fruitless >= (min(2, self._patience.attempts) if silent else self._patience.attempts):
                    if silent:
                        self._silent_origins.add(_origin(url))
                    raise SourceUnreachable(_reason(url, error)) from error
                time.sleep(self._pause_s(url, error, fruitless))

    def _pause_s(self, url: httpx2.URL, error: Exception, fruitless: int) -> float:
        """Seconds until the next try: what the server asks for, else a little longer each time.

        Raises:
            SourceUnreachable: the server asks for more than a person would wait.
        """
        pause_s: float = self._patience.pause_s * 2 ** (fruitless - 1)
        asked_s = error.retry_after_s if isinstance(error, _TryAgain) else None
        if asked_s is None:
            return pause_s
        if asked_s > self._patience.longest_pause_s:
            raise SourceUnreachable(
                f"{_reason(url, error)} and asks to wait {asked_s:,.0f} s before the next try"
            ) from error
        return max(pause_s, asked_s)

    def _transfer(
        self,
        url: httpx2.URL,
        part: Part,
        label: str,
        report: Report,
        expected: Expected,
        *,
        use_token: bool,
    ) -> str | None:
        if part.is_complete:
            return part.announced
        with self._answer(url, part.request_headers(), use_token=use_token) as (response, announced):
            self._check_status(response, part)
            if announced is not None and expected.sha256 not in (None, announced):
                raise DigestMismatch(f"the hub has another file: its sha256 is {announced[:16]}…")
            with part.open(response, announced) as file:
                if part.total is not None:
                    require_space(part.path.parent, part.total - part.size)
                report(label, part.size, part.total)
                _copy(response, file, part, label, report)
        if part.total is not None and part.size != part.total:
            raise _TryAgain("the transfer broke off")
        return part.announced

    @contextmanager
    def _answer(
        self, url: httpx2.URL, headers: dict[str, str], *, use_token: bool
    ) -> Iterator[tuple[httpx2.Response, str | None]]:
        """Follow redirects by hand, so that every hop decides anew who gets to see the token."""
        announced = None
        for _ in range(_MAX_REDIRECTS + 1):
            at_hub = use_token and _origin(url) == self._hub_origin
            sent = {**headers, "Accept-Encoding": "identity", "User-Agent": "sightline"}
            if at_hub and self._hub_token:
                sent["Authorization"] = f"Bearer {self._hub_token}"
            with self._client.stream("GET", url, headers=sent) as response:
                if at_hub:
                    announced = _linked_sha256(response) or announced
                if not response.has_redirect_location:
                    yield response, announced
                    return
                target = _redirect_target(url, response)
            if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
                raise SourceMissing(f"{_name(url)} redirects to an address we do not follow")
            url = target
        raise SourceMissing(f"{_name(url)} redirects too often")

    def _check_status(self, response: httpx2.Response, part: Part) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 416:
            part.discard()
        if status in _RETRIED_STATUSES:
            raise _TryAgain(f"answered {status}", _retry_after_s(response))
        # The hub answers 401 to requests without a token for repositories that it does not have.
        absent = response.headers.get("x-error-code", "").endswith("NotFound")
        if status in (401, 403) and not absent:
            raise SourceMissing(
                f"access refused ({status}): accept the licence on the model's page at "
                f"{_name(response.url)} and set SIGHTLINE_HUB_TOKEN"
                if _origin(response.url) == self._hub_origin
                else f"access refused ({status})"
            )
        raise SourceMissing(f"no such file ({status})")

    @property
    def _client(self) -> httpx2.Client:
        if self._opened is None:
            times = self._patience
            self._opened = httpx2.Client(
                timeout=httpx2.Timeout(times.read_timeout_s, connect=times.connect_timeout_s)
            )
        return self._opened


class _TryAgain(Exception):
    """The server answered, in a way that another try may cure; it may have said when."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def _copy(response: httpx2.Response, file: BinaryIO, part: Part, label: str, report: Report) -> None:
    done = part.size
    for chunk in response.iter_raw():
        if done == 0 and _is_page(chunk, response):
            raise SourceMissing(
                f"{_name(response.url)} answered with a web page instead of the file; it may ask for a login"
            )
        file.write(chunk)
        done += len(chunk)
        report(label, done, part.total)


def _reason(url: httpx2.URL, error: Exception) -> str:
    if isinstance(error, httpx2.RequestError):
        url = error.request.url  # after a redirect this is another host
    if isinstance(error, _TryAgain | Unusable):
        return f"{_name(url)}: {error}"
    if isinstance(error, httpx2.TimeoutException | httpx2.ConnectError):
        return f"{_name(url)} did not answer"
    return f"the connection to {_name(url)} breaks off"


def _is_page(beginning: bytes, response: httpx2.Response) -> bool:
    text = beginning.lstrip()[:20].lower()
    says_so = response.headers.get("content-type", "").startswith("text/html")
    return text.startswith((b"<!doctype html", b"<html")) or (says_so and text.startswith(b"<"))


def _retry_after_s(response: httpx2.Response) -> float | None:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3), None if it names none that can be read."""
    text = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _trusted(mirror: str) -> str:
    """Raises ConfigurationError for a mirror whose answers anybody on the way could change."""
    parsed = _parse(mirror)
    if parsed.scheme == "http" and not _is_loopback(parsed.host):
        raise ConfigurationError("SIGHTLINE_DOWNLOAD_MIRROR: expected https; http is for this machine only")
    return mirror.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mirrored(url: str, mirror: str) -> str:
    """Return where a mirror has the file of ``url``: under the name of its host."""
    parsed = _parse(url)
    return f"{mirror}/{_name(parsed)}{parsed.raw_path.decode('ascii')}"


def _redirect_target(url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    try:
        return url.join(response.headers["location"])
    except httpx2.InvalidURL as error:
        raise SourceMissing(f"{_name(url)} redirects to an address that is none") from error


def _linked_sha256(response: httpx2.Response) -> str | None:
    """The hub names the sha256 of large files before it redirects to where they are stored."""
    value = str(response.headers.get("x-linked-etag", "")).strip('"')
    return value if re.fullmatch("[0-9a-f]{64}", value) else None


def _parse(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ConfigurationError("an address of model files is not a URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError("an address of model files is not an http or https URL")
    return parsed


def _origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{_name(url)}"


def _name(url: httpx2.URL) -> str:
    """Host and port as configured: no user name, no password, no resolved address."""
    return url.netloc.decode("ascii")
