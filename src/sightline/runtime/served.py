"""One model as requests meet it: admission to its lane, loading, then its runner."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sightline.capabilities import Subject, held_bytes, pictures_of
from sightline.errors import Overloaded
from sightline.operations import Inference, Timing
from sightline.runtime.context import Context, until
from sightline.runtime.lanes import Lane
from sightline.runtime.memory import MemoryGuard
from sightline.runtime.pixels import PixelBudget
from sightline.runtime.residency import Residency
from sightline.runtime.runners import LoopRunner, Runner
from sightline.runtime.telemetry import Telemetry


class Served:
    """Runs one model for requests. It does not remember outputs."""

    def __init__(
        self,
        lane: Lane,
        runner: Runner,
        residency: Residency,
        pixels: PixelBudget,
        memory: MemoryGuard,
        telemetry: Telemetry,
    ) -> None:
        self.model = lane.model
        self._lane = lane
        self._runner = runner
        self._residency = residency
        self._pixels = pixels
        self._memory = memory
        self._telemetry = telemetry

    async def infer(self, subject: Subject, context: Context) -> Inference[Any]:
        """Return the model's output for ``subject``, with its timing. See ``Engine.infer``.

        Pixels are admitted before the lane. A picture that waits for pixels must not fill a lane that a
        picture with its pixels needs. A picture does not hold pixels while its model is loaded either.
        """
        lane, places, deadline = self._lane, context.places, context.deadline
        num_bytes, load_s = held_bytes(subject), 0.0
        try:
            if self.model not in self._residency.residents:
                self._memory.require()
                async with places.place(lane, num_bytes, context.priority, deadline):
                    started = time.monotonic()
                    async with self._residency.using(self.model, deadline):
                        loaded = time.monotonic()
                        load_s = loaded - started
                        self._telemetry.step("load", self.model, started, loaded)
            await self._pixels.admit(pictures_of(subject), context.pixels, deadline)
            async with (
                places.place(lane, num_bytes, context.priority, deadline) as place,
                self._residency.using(self.model, deadline) as resident,
                until(context),
            ):
                output, timing = await self._runner.run(resident, subject, context, place)
        except Overloaded:
            self._telemetry.item_refused(self.model)
            raise
        if load_s:
            timing = replace(timing or Timing(), load_ms=load_s * 1000)
        return Inference(output, resident.ref, timing)

    def at_once(self, subject: Subject) -> Inference[Any] | None:
        """Return the output of a loaded model that runs on the event loop; None for all others."""
        resident = self._residency.residents.get(self.model)
        if resident is None or not isinstance(self._runner, LoopRunner):
            return None
        return Inference(self._runner.run_now(resident, subject), resident.ref)
