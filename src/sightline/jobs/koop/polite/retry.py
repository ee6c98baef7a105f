"""Which answers are worth another try, and when."""

from __future__ import annotations

import email.utils
import random
import re
from datetime import UTC
from enum import Enum, auto

from sightline.jobs.koop.polite.policy import PolitenessPolicy


class Answer(Enum):
    """What a status means for the document and for its host."""

    GOOD = auto()
    REDIRECT = auto()
    GONE = auto()
    REFUSED = auto()
    TOO_MUCH = auto()
    """The host wants less of us."""
    LATER = auto()
    """This request, another time; the host is well."""
    ILL = auto()
    """The host is not well."""


# 206 and 304 were not asked for (those that were, host.py knows), 204 and 205 have nothing in them: such a
# host is confused.
_GOOD = frozenset({200, 203})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_LATER = frozenset({408, 425})
_TOO_MUCH = frozenset({429, 503})
# Not implemented, HTTP version not supported: no request of ours will ever be better.
_NEVER = frozenset({501, 505})


def meaning_of(status: int) -> Answer:
    """What to make of an HTTP status."""
    kinds = (
        (_GOOD, Answer.GOOD),
        (_REDIRECTS, Answer.REDIRECT),
        (_GONE, Answer.GONE),
        (_LATER, Answer.LATER),
        (_TOO_MUCH, Answer.TOO_MUCH),
        (_NEVER, Answer.REFUSED),
    )
    for statuses, answer in kinds:
        if status in statuses:
            return answer
    if status >= 500:
        return Answer.ILL
    return Answer.LATER if status < 300 else Answer.REFUSED


def retry_after_s(value: str | None, *, unix_s: float, max_s: float) -> float | None:
    """A ``Retry-After`` header in seconds from ``unix_s``, 0 … ``max_s`` (RFC 9110, section 10.2.3).

    Whole seconds or an HTTP date; one that has passed is 0. None if there is no sense in it.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), max_s)  # infinite past 308 digits
    try:
        at = email.utils.parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return min(max(0.0, at.timestamp() - unix_s), max_s)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def backoff_s(retry: int, policy: PolitenessPolicy, rng: random.Random) -> float:
    """Seconds before the ``retry``-th retry (from 0), anywhere up to the bound: full jitter, so that workers
    that failed together do not come back together.
    """
    return rng.uniform(0.0, min(policy.backoff_s * 2.0 ** min(retry, 30), policy.max_backoff_s))
