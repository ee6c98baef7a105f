"""A token bucket that learns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a host, to be kept between runs. Moments are Unix seconds.

    Attributes:
        tokens: what the bucket held at ``at_unix_s``; a run that begins at once has no second burst.
        paused_until_unix_s: the host asked to be left alone until then; 0 if it did not.
    """

    rate_per_s: float
    tokens: float
    at_unix_s: float
    paused_until_unix_s: float = 0.0
