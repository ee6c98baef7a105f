from __future__ import annotations

from sightline.operations import Timing
from sightline.runtime.telemetry import Trace


def test_a_trace_is_the_sum_of_its_steps() -> None:
    trace = Trace()
    trace.steps |= {Timing(load_ms=1, prepare_ms=2), Timing(queue_ms=3, infer_ms=4), Timing(infer_ms=4)}
    assert (trace.load_ms, trace.prepare_ms, trace.queue_ms, trace.infer_ms) == (1, 2, 3, 8)


def test_a_shared_step_counts_once_however_it_came() -> None:
    person = Trace({Timing(infer_ms=5)})
    face = Trace({Timing(infer_ms=7)})
    face.add(person)
    task = Trace()
    for part in (person, face, face):
        task.add(part)
    assert task.infer_ms == 12


def test_a_warning_is_said_once() -> None:
    task, part = Trace(), Trace(warnings=["no person detector"])
    task.add(part)
    task.add(part)
    assert task.warnings == ["no person detector"]
