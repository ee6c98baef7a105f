"""Warnings for clients whose contract has no place for them in the body."""

from __future__ import annotations

from collections.abc import Iterable

from sightline.runtime.analyzer import Outcome
from sightline.runtime.report import warnings_of

WARNING_HEADER = "X-Sightline-Warning"


def warning_headers(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """A header with each warning once, on one line of ASCII: a warning may quote anything, a header not."""
    said = dict.fromkeys(warning for outcome in outcomes for warning in warnings_of(outcome))
    text = " ".join("; ".join(said).split()).encode("ascii", "replace").decode("ascii")
    return {WARNING_HEADER: text} if text else {}
