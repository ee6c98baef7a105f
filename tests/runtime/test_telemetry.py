from __future__ import annotations

import asyncio

from sightline.runtime.telemetry import Step, Trace, begin_trace, current_trace


def test_a_trace_is_the_sum_of_its_steps() -> None:
    trace = Trace()
    trace.steps |= {Step(load_ms=1, prepare_ms=2), Step(queue_ms=3, infer_ms=4), Step(infer_ms=4)}
    assert (trace.load_ms, trace.prepare_ms, trace.queue_ms, trace.infer_ms) == (1, 2, 3, 8)


def test_a_shared_step_counts_once_however_it_came() -> None:
    person = Trace({Step(infer_ms=5)})
    face = Trace({Step(infer_ms=7)})
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


def test_outside_of_any_trace_steps_go_nowhere() -> None:
    current_trace().steps.add(Step(infer_ms=1))
    assert current_trace().infer_ms == 0


async def test_asyncio_tasks_have_their_own_trace() -> None:
    async def step(ms: float) -> float:
        trace = begin_trace()
        await asyncio.sleep(0)
        current_trace().steps.add(Step(infer_ms=ms))
        return trace.infer_ms

    assert await asyncio.gather(step(1), step(2)) == [1, 2]
