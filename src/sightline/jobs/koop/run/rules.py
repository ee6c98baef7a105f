"""The rules that a folder was filled by: an option forgotten must not cost what earlier runs kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from sightline.errors import InvalidRequest
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.options import LOOK_DPI, MAX_PAGES, Options
from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.state import State
from sightline.settings import Settings

_FILLED_BY = "filled_by"
# How much stays.
_WIDTHS = {Keep.NONE: 0, Keep.WOULD_DOWNLOAD: 1, Keep.ALL: 2}


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides which files stay, and what a day is. ``words`` is the digest of what the label set says;
    None where that is not known, because nobody judged.

    Those of folders of older versions may lack some: they are taken to be as usual.
    """

    keep: Keep
    label_set: str
    date_field: str
    look_dpi: float = LOOK_DPI
    max_pages: int = MAX_PAGES
    max_pixels: int = Settings.model_fields["image_max_pixels"].default
    max_side: int = Settings.model_fields["image_max_side"].default
    words: str | None = None

    @classmethod
    def of(cls, settings: Settings, options: Options, words: str | None = None) -> Self:
        return cls(
            options.keep,
            options.label_set,
            options.field,
            options.look_dpi,
            options.max_pages,
            settings.image_max_pixels,
            settings.image_max_side,
            words,
        )

    @classmethod
    def stored(cls, state: State) -> tuple[Self, ...]:
        """Those that files were kept by, in runs that were not dry; none if the folder is new."""
        stored = state.get(_FILLED_BY) or []
        several = [stored] if isinstance(stored, dict) else stored  # older versions knew one at a time
        return tuple(cls(**{**fields, "keep": Keep(fields["keep"])}) for fields in several)

    def may_remove_what(self, before: Rules) -> bool:
        """Whether files that stay by rules ``before`` may go by these."""
        return (
            _WIDTHS[self.keep] < _WIDTHS[before.keep]
            or (self.label_set, self.look_dpi) != (before.label_set, before.look_dpi)
            or self.max_pages < before.max_pages
            or self.max_pixels < before.max_pixels
            or self.max_side < before.max_side
            or (None not in (self.words, before.words) and self.words != before.words)
        )

    def __str__(self) -> str:
        words = "" if self.words is None else f" ({self.words})"
        return (
            f"--keep {self.keep} --label-set {self.label_set}{words} --look-dpi {self.look_dpi:g} "
            f"--max-pages {self.max_pages}, images to {self.max_pixels} pixels and {self.max_side} a side"
        )


def require_same_rules(rules: Rules, options: Options, state: State, folder: Path) -> None:
    """Raises InvalidRequest: a day was something else in earlier runs; or files that these kept may go, and
    ``options.prune`` does not say that this is meant.
    """
    stored = Rules.stored(state)
    for before in stored:
        if before.date_field != rules.date_field:
            raise InvalidRequest(
                f"{folder} has days by --date-field {before.date_field}, which would be mixed with those by "
                f"{rules.date_field}; give another --out"
            )
    if options.dry_run or options.prune:
        return
    number = Counts(state).number_of_files()
    for before in stored:
        if number and rules.may_remove_what(before):
            raise InvalidRequest(
                f"{folder} has {number} files kept by {before}. Judged by {rules}, some may be removed. "
                "Give the same again, or another --out, or --prune if that is what you want"
            )


def remember_rules(rules: Rules, options: Options, state: State) -> None:
    """For the next run. A dry one keeps nothing, so the folder is still as it was filled before. One that
    prunes some of the days leaves the others as they were: both rules count from then on.
    """
    before = Rules.stored(state)
    if options.dry_run and before:
        return
    others = before if options.prune and not _covers_all(options, state) else ()
    if rules.words is None:  # nobody judges, so nothing goes by other words
        known = (each.words for each in before if each.label_set == rules.label_set)
        rules = replace(rules, words=next(filter(None, known), None))
    state.put(_FILLED_BY, [asdict(each) for each in _widest((rules, *others))])


def _covers_all(options: Options, state: State) -> bool:
    """Whether a run comes to every day that has files."""
    ends = Counts(state).ends_of_files()
    return ends is None or (
        not options.only_failed and options.first <= ends[0] and ends[1] <= options.last_searched
    )


def _widest(several: Iterable[Rules]) -> list[Rules]:
    """Without those whose files all stay by another one of them, too."""
    widest: list[Rules] = []
    for each in several:
        if not any(not other.may_remove_what(each) for other in widest):
            widest = [other for other in widest if each.may_remove_what(other)]
            widest.append(each)
    return widest
