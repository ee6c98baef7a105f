"""What a download is asked to do."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from sightline.jobs.koop.archive.query import NOTHING, DateField, Exclusions, day_query
from sightline.jobs.koop.lifecycle import ItemKind, Keep
from sightline.jobs.koop.store.documents import Placement

# Decisions may still be published a day or two after the date they get.
PROVISIONAL_DAYS = 3
DEFAULT_LABEL_SET = "map-or-aerial"
LOOK_DPI, KEEP_DPI = 100.0, 300.0
MAX_PAGES = 50


@dataclass(frozen=True, slots=True)
class Options:
    """One run.

    Attributes:
        first, last: days, both included.
        keep: which files stay.
        dry_run: judge, keep nothing more and write no manifest. What earlier runs kept stays as it is.
        prune: let other rules than those of earlier runs remove what these kept.
        retry_failed: work on days again that are partial or failed.
        only_failed: leave all other days alone.
        judge_again: fetch again what was let go and was judged by another model, or seen otherwise.
        field: which date of a publication counts.
        newest_first: begin at ``last``.
        logos: fetch also what stands in headings or says that it is a logo.
        min_width_mm: illustrations printed narrower than this are not fetched, as traffic signs are.
        attachments: look at external attachments too.
        label_set: what pictures are told apart by; any of its rules that says yes is a yes.
        look_dpi: dots per inch at which pages are judged.
        keep_dpi: dots per inch at which pages that stay are drawn.
        max_pages: pages of one document that are looked at.
        attachments_at: folder of all attachments.
        reader_at: the readers' site, which has illustrations, texts and PDFs.
        from_repository: take texts and PDFs from where the record says, not from the readers' site.
        max_bytes: of one file or text.
        at_once: publications worked on at the same time.
        day_timeout_s: most time for one day.
        today: what day it is.
    """

    first: dt.date
    last: dt.date
    keep: Keep = Keep.WOULD_DOWNLOAD
    dry_run: bool = False
    prune: bool = False
    retry_failed: bool = False
    only_failed: bool = False
    judge_again: bool = False
    field: DateField = DateField.AVAILABLE
    exclusions: Exclusions = NOTHING
    newest_first: bool = False
    logos: bool = False
    min_width_mm: float = 25.0
    attachments: bool = True
    label_set: str = DEFAULT_LABEL_SET
    look_dpi: float = LOOK_DPI
    keep_dpi: float = KEEP_DPI
    max_pages: int = MAX_PAGES
    attachments_at: str = ""
    reader_at: str = ""
    from_repository: bool = False
    max_bytes: int = 100 * 1024 * 1024
    at_once: int = 4
    day_timeout_s: float = 43_200.0
    today: dt.date = dt.date.max

    @property
    def last_searched(self) -> dt.date:
        """``last``, or today if that is still to come."""
        return min(self.last, self.today)

    @property
    def number_of_days(self) -> int:
        return (self.last_searched - self.first).days + 1

    def dates(self) -> Iterator[dt.date]:
        """All days in their order, one at a time."""
        for number in range(self.number_of_days):
            yield (
                self.last_searched - dt.timedelta(days=number)
                if self.newest_first
                else self.first + dt.timedelta(days=number)
            )

    def query_hash(self, date: dt.date) -> str:
        """Digest of the question a day is searched with: another question may have another answer."""
        return _digest(day_query(date, self.field, self.exclusions))

    def terms(self, *judged_by: str | None) -> str:
        """Digest of everything that decides what becomes of images, such as who judges them."""
        return _digest(
            self.keep, self.dry_run, self.logos, self.min_width_mm, self.attachments, self.look_dpi,
            self.keep_dpi, self.max_pages, *judged_by,
        )  # fmt: skip

    def is_provisional(self, date: dt.date) -> bool:
        """Whether more may still be published under this date."""
        return date > self.today - dt.timedelta(days=PROVISIONAL_DAYS)

    def skip_reason(self, placement: Placement) -> str | None:
        """Why an item is not worth fetching; None if it is."""
        if placement.in_head and not self.logos:
            return "a logo"
        if placement.kind is ItemKind.ATTACHMENT and not self.attachments:
            return "an attachment"
        width_mm = placement.width_mm
        if width_mm is not None and width_mm < self.min_width_mm:
            return f"printed {width_mm:g} mm wide, less than {self.min_width_mm:g} mm"
        return None


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
