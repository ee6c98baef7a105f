"""How ``sightline wildlife`` shows what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.cli.progress import ImageWatch
from sightline.jobs.wildlife.identification import PhotoStatus

if TYPE_CHECKING:
    from sightline.jobs.wildlife.identification import PhotoEnd, Tally


class Watch(ImageWatch):
    """Shows what became of each photo."""

    def __init__(self) -> None:
        super().__init__("loading the models")

    def begin(self, total: int) -> None:
        self.show_total(total, "looking")

    def __call__(self, end: PhotoEnd) -> None:
        if end.status is not PhotoStatus.KEPT:
            self.advance("looking")
        self.show_line(
            {
                "photo": end.photo,
                "status": end.status.value,
                "reason": end.reason,
                "warnings": list(end.warnings),
            }
        )

    def end(self, tally: Tally) -> None:
        """The warnings, the photos that failed, and how many there were."""
        for warning in tally.warnings:
            self.tell(f"warning: {warning}", "yellow")
        for each in tally.failures:
            self.tell(f"failed: {each.photo}: {each.reason}", "red")
        if more := tally.failed - len(tally.failures):
            self.tell(f"and {more:,} more, which have failures in the file", "red")
        self.show_counts({status.value: tally.counts[status] for status in PhotoStatus})
