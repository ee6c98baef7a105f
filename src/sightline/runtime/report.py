"""Outcomes as plain JSON-able data: the shape of ``/v1/analyze`` and of ``sightline analyze --json``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from sightline.errors import ModelLoading, Overloaded, SightlineError
from sightline.imaging import Picture
from sightline.operations import Operation
from sightline.runtime.analyzer import Outcome
from sightline.runtime.telemetry import Trace
from sightline.types import ModelRef, Provenance, Region


def picture_report(picture: Picture | None, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One image's entry: ``image`` (facts, None without a picture) and ``results`` by task id."""
    return {
        "image": picture_facts(picture) if picture else None,
        "results": {outcome.id: outcome_report(outcome) for outcome in outcomes},
    }


def picture_facts(picture: Picture) -> dict[str, Any]:
    facts = picture.facts
    return {
        "format": facts.format,
        "width": facts.width,
        "height": facts.height,
        "num_bytes": facts.num_bytes,
        "sha256": facts.sha256,
    }


def outcome_report(outcome: Outcome) -> dict[str, Any]:
    """One task's result: status, data, region, model, timing always; crop, warnings, error if there are, and
    ``models`` if more than one had a say."""
    answer = outcome.answer
    model = answer.model if answer else None
    report: dict[str, Any] = {
        "status": outcome.status.value,
        "operation": outcome.operation.name,
        "data": answer.data.model_dump(mode="json") if answer and answer.data is not None else None,
        "region": _region(answer.region) if answer and answer.region else None,
        "model": _model(model) if model else None,
        "timing_ms": _timing(outcome.total_ms, outcome.trace),
    }
    if len(models := outcome.trace.models) > 1:
        report["models"] = [_model(models[name]) for name in sorted(models)]
    if outcome.crop_png is not None:
        report["crop"] = "data:image/png;base64," + base64.b64encode(outcome.crop_png).decode("ascii")
    if warnings := warnings_of(outcome):
        report["warnings"] = warnings
    if outcome.error is not None:
        report["error"] = error_report(outcome.error)
    return report


def warnings_of(outcome: Outcome) -> list[str]:
    """Return the warnings that a reader needs to understand the answer."""
    warnings = [*outcome.trace.warnings, *(outcome.answer.warnings if outcome.answer else ())]
    model = outcome.answer.model if outcome.answer else None
    involved = outcome.trace.models | ({model.name: model} if model else {})
    warnings += [
        f"{name} has random weights: the answer means nothing"
        for name, each in sorted(involved.items())
        if each.provenance is Provenance.RANDOM
    ]
    return warnings


def operation_report(operation: Operation[Any, Any]) -> dict[str, Any]:
    """Return an operation's parameters and result as JSON schema, its targets and an example."""
    return {
        "name": operation.name,
        "description": operation.description,
        "needs": [capability.name for capability in operation.needs],
        "needs_image": operation.needs_picture,
        "targets": [target.value for target in operation.targets],
        "default_target": operation.default_target.value if operation.default_target else None,
        "params": operation.Params.model_json_schema(),
        "result": operation.Result.model_json_schema(),
        "example": {"operation": operation.name, "params": dict(operation.example)},
    }


def error_report(error: SightlineError) -> dict[str, Any]:
    report: dict[str, Any] = {"code": error.code, "message": str(error)}
    if isinstance(error, Overloaded | ModelLoading):
        report["retry_after_s"] = error.retry_after_s
    return report


def _model(model: ModelRef) -> dict[str, Any]:
    return {"name": model.name, "fingerprint": model.fingerprint, "provenance": model.provenance.value}


def _region(region: Region) -> dict[str, Any]:
    return {"target": region.target.value, "box": region.box.as_list() if region.box else None}


def _timing(total_ms: float, trace: Trace) -> dict[str, float]:
    parts = {
        "total": total_ms,
        "load": trace.load_ms,
        "prepare": trace.prepare_ms,
        "queue": trace.queue_ms,
        "infer": trace.infer_ms,
    }
    return {name: round(milliseconds, 2) for name, milliseconds in parts.items()}
