"""What a request's one log line should say of it: operations, models, pictures, and where the time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from sightline.imaging import Picture
from sightline.runtime.analyzer import Outcome

MAX_PICTURES_LOGGED = 4


def note_picture(request: Request, picture: Picture) -> None:
    """Format, upright size, bytes and the first digits of the digest; enough to find a picture again."""
    facts = picture.facts
    pictures = _log_of(request).setdefault("images", [])
    if len(pictures) < MAX_PICTURES_LOGGED:
        size = f"{facts.width}x{facts.height}"
        pictures.append(f"{facts.format} {size} {facts.num_bytes} B {facts.sha256[:12]}")


def note_outcomes(request: Request, outcomes: Sequence[Outcome]) -> None:
    """Operations, models, outcomes that were not ok, and milliseconds by kind of work."""
    log = _log_of(request)
    groups: dict[str, float] = defaultdict(float, log.get("ms_by_kind", {}))
    for outcome in outcomes:
        _append(log, "operations", outcome.operation.name)
        if outcome.answer and outcome.answer.model:
            _append(log, "models", outcome.answer.model.name)
        if outcome.error is not None:
            _append(log, "errors", outcome.error.code)
        groups[outcome.operation.timing_group] = round(
            groups[outcome.operation.timing_group] + outcome.total_ms, 2
        )
    log["ms_by_kind"] = dict(groups)


def _append(log: dict[str, Any], key: str, value: str) -> None:
    values = log.setdefault(key, [])
    if value not in values:
        values.append(value)


def _log_of(request: Request) -> dict[str, Any]:
    log: dict[str, Any] = request.scope.setdefault("state", {}).setdefault("log", {})
    return log
