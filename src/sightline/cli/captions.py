"""How ``sightline caption`` shows what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.cli.progress import ImageWatch
from sightline.jobs.captioning import CaptionStatus

if TYPE_CHECKING:
    from sightline.jobs.captioning import Captioned, Tally


class Watch(ImageWatch):
    """Shows each image's caption, or what came instead."""

    def __init__(self) -> None:
        super().__init__("looking for images")

    def begin(self, total: int) -> None:
        self.show_total(total, "loading the model")

    def __call__(self, captioned: Captioned) -> None:
        if captioned.status is not CaptionStatus.SKIPPED or not captioned.is_usual:
            self.advance("captioning")
        self.show_line(
            {
                "image": str(captioned.image),
                "status": captioned.status.value,
                "caption": captioned.caption,
                "reason": captioned.reason,
                "warnings": list(captioned.warnings),
            }
        )

    def end(self, tally: Tally) -> None:
        """The warnings, every image that is worth a line, and how many there were."""
        for warning in tally.warnings:
            self.tell(f"warning: {warning}", "yellow")
        for each in tally.unusual:
            style = "red" if each.status is CaptionStatus.FAILED else "yellow"
            self.tell(f"{each.status.value}: {each.image}: {each.reason or ''}", style)
        self.show_counts({status.value: tally.counts[status] for status in CaptionStatus})
