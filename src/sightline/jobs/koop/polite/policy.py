"""How an archive is treated."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sightline import __version__
from sightline.errors import ConfigurationError

_CONTACT = re.compile(r"(https?://|mailto:)?[\x21-\x27\x2a-\x7e]+")


@dataclass(frozen=True, slots=True)
class PolitenessPolicy:
    """Figures of one client. They stay below what public clients of the KOOP repository found it to bear: 115
    requests at once, then one per second, then 429 without a ``Retry-After``.

    Attributes:
        contact: a URL or address at which the archive's people find whoever runs this; part of the
            ``User-Agent``.
        rate_per_s: requests per second to one host, to begin with.
        burst: requests a host may get at once after a rest.
        floor_per_s: the rate is never made less than this.
        ceiling_per_s: nor more than this.
        increase_per_s: what each good answer adds to the rate.
        decrease: what a 429 or 503 multiplies it with, once per pause.
        pause_s: the first such answer pauses the whole host for up to this; doubled for each in a row.
        max_pause_s: and never longer than this, unless ``Retry-After`` asks for more.
        max_retry_after_s: the most that ``Retry-After`` is believed.
        attempts: tries per document, redirects apart.
        backoff_s: a document's first retry waits up to this; doubled for each further one.
        max_backoff_s: and never longer than this.
        breaker_failures: failures of a host in a row after which it is left alone.
        breaker_pause_s: for so long, then one request tries; doubled each time it fails.
        max_breaker_pause_s: and never longer than this.
        patience_s: a host that gives no answer is waited for so long, if anything is wanted of it; a document
            is given up when its next try would begin later.
        concurrent: requests under way to one host.
        max_redirects: redirects followed per try.
        connect_timeout_s: connecting, TLS included.
        dns_timeout_s: resolving a name.
        idle_timeout_s: silence; searches of this service have taken two minutes to begin their answer.
        attempt_timeout_s: one request from the first to the last byte.
    """

    contact: str
    rate_per_s: float = 0.85
    burst: float = 50.0
    floor_per_s: float = 0.1
    ceiling_per_s: float = 0.95
    increase_per_s: float = 0.01
    decrease: float = 0.5
    pause_s: float = 10.0
    max_pause_s: float = 120.0
    max_retry_after_s: float = 600.0
    attempts: int = 6
    backoff_s: float = 2.0
    max_backoff_s: float = 60.0
    breaker_failures: int = 8
    breaker_pause_s: float = 60.0
    max_breaker_pause_s: float = 600.0
    patience_s: float = 1800.0
    concurrent: int = 4
    max_redirects: int = 5
    connect_timeout_s: float = 10.0
    dns_timeout_s: float = 10.0
    idle_timeout_s: float = 150.0
    attempt_timeout_s: float = 300.0

    def __post_init__(self) -> None:
        """Raises ConfigurationError."""
        if not _CONTACT.fullmatch(self.contact):
            raise ConfigurationError(
                "the contact for archives must be a URL or mail address without spaces, "
                "such as https://example.org/about"
            )
        if not 0 < self.floor_per_s <= self.rate_per_s <= self.ceiling_per_s:
            raise ConfigurationError("an archive's rates must be 0 < floor <= rate <= ceiling")
        if self.burst < 1 or self.attempts < 1 or self.concurrent < 1 or not 0 < self.decrease < 1:
            raise ConfigurationError(
                "an archive's burst, attempts and concurrent requests must be at least 1, decrease below 1"
            )

    @property
    def user_agent(self) -> str:
        return f"sightline/{__version__} (+{self.contact})"
