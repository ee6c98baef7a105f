"""The boxes that the tasks of one request have found so far, as the image-embed service remembered them."""

from __future__ import annotations

from sightline.runtime.analyzer import BoundTask, Outcome
from sightline.types import Target


class KnownBoxes:
    """``face`` and ``person`` are [x_min, y_min, x_max, y_max] of the latest found, or None.

    Tasks are noted in the request's order, whatever order they ended in, so that one request always gets one
    answer.
    """

    def __init__(self) -> None:
        self.face: list[int] | None = None
        self.person: list[int] | None = None

    def note(self, task: BoundTask, outcome: Outcome) -> None:
        """What the answer to ``task`` says of where a face or a person is."""
        answer = outcome.answer
        if answer is None or answer.data is None:
            return
        target: object = None
        box: object = None
        if answer.region is not None:
            target, box = answer.region.target, answer.region.box and answer.region.box.as_list()
        elif hasattr(answer.data, "box"):
            target, box = getattr(task.params, "target", None), answer.data.box
        if not isinstance(box, list):
            return
        if target is Target.PROMINENT_FACE:
            self.face = box
        elif target is Target.PROMINENT_PERSON:
            self.person = box
