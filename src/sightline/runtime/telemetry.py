"""What the runtime tells whoever measures. Labels are names from the registry, never from a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from sightline.types import ModelRef

ValueT = TypeVar("ValueT")


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


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One wait for a model: times in milliseconds."""

    load_ms: float = 0.0
    prepare_ms: float = 0.0
    queue_ms: float = 0.0
    infer_ms: float = 0.0


@dataclass(slots=True)
class Trace:
    """Where one task's time went, in milliseconds, which models had a say by name, and what should be said
    about its answer.

    A step shared with another task is counted in both, and once in each however often it is used: the
    numbers say what the answer took to make, not what it added to the request.
    """

    steps: set[Step] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    models: dict[str, ModelRef] = field(default_factory=dict)

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


_current: ContextVar[Trace | None] = ContextVar("sightline_trace", default=None)


def begin_trace() -> Trace:
    """Start a trace that steps of the running asyncio task add to."""
    trace = Trace()
    _current.set(trace)
    return trace


def current_trace() -> Trace:
    """The running task's trace; a throw-away one outside of any."""
    return _current.get() or Trace()


async def traced(find: Callable[[], Awaitable[ValueT]]) -> tuple[ValueT, Trace]:
    """What ``find`` gives, and a trace of its own of it: for a task that several others wait for."""
    trace = begin_trace()
    return await find(), trace
