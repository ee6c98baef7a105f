"""Measurements of the runtime. Labels are names from the registry, never from a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sightline.operations import Inference, Timing
from sightline.types import ModelRef


class Telemetry:
    """Does nothing; a subclass measures what it wants. Times in seconds.

    Called from the event loop and slot threads alike: methods must be quick and must not raise.
    """

    def batch_computed(self, model: str, size: int, infer_s: float) -> None: ...

    def item_failed(self, model: str) -> None: ...

    def item_waited(self, model: str, prepare_s: float, queue_s: float) -> None: ...

    def item_refused(self, model: str) -> None: ...

    def text_recalled(self, model: str) -> None: ...

    def model_loaded(self, model: str, load_s: float) -> None: ...

    def model_unloaded(self, model: str) -> None: ...

    def task_finished(self, operation: str, status: str, total_s: float) -> None: ...

    def step(self, name: str, model: str, started_s: float, ended_s: float) -> None:
        """A request has waited for fetch, load, decode, queue or infer, from and to ``time.monotonic()``."""


@dataclass(slots=True)
class Trace:
    """Durations, models by name and warnings of one task's answer.

    A timing shared with another task counts in both, and once in each however often it is used. The sums
    state how long the answer took to make, not what it added to the request.
    """

    steps: set[Timing] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    models: dict[str, ModelRef] = field(default_factory=dict)

    def note(self, inference: Inference[Any]) -> None:
        """Add one inference."""
        self.models[inference.model.name] = inference.model
        if inference.timing is not None:
            self.steps.add(inference.timing)

    def add(self, other: Trace) -> None:
        self.steps |= other.steps
        self.models |= other.models
        self.warnings.extend(warning for warning in other.warnings if warning not in self.warnings)

    @property
    def load_ms(self) -> float:
        return sum(step.load_ms for step in self.steps)

    @property
    def prepare_ms(self) -> float:
        return sum(step.prepare_ms for step in self.steps)

    @property
    def queue_ms(self) -> float:
        return sum(step.queue_ms for step in self.steps)

    @property
    def infer_ms(self) -> float:
        return sum(step.infer_ms for step in self.steps)
