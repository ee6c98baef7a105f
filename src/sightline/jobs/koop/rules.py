"""The rules that a folder was filled by: an option forgotten must not cost what earlier runs kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from sightline.errors import InvalidRequest
from sightline.jobs.koop.documents import Documents
from sightline.jobs.koop.options import LOOK_DPI, MAX_PAGES, Keep, Options
from sightline.jobs.koop.state import State
from sightline.settings import Settings

_FILLED_BY = "filled_by"
# How much stays.
_WIDTHS = {Keep.NONE: 0, Keep.WOULD_DOWNLOAD: 1, Keep.ALL: 2}


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides which files stay, and what a day is.

    Those of folders of older versions may lack some: they are taken to be as usual.
    """

    keep: Keep
    label_set: str
    date_field: str
    look_dpi: float = LOOK_DPI
    max_pages: int = MAX_PAGES
    max_pixels: int = Settings.model_fields["image_max_pixels"].default
    max_side: int = Settings.model_fields["image_max_side"].default

    @classmethod
    def of(cls, settings: Settings, options: Options) -> Self:
        return cls(
            options.keep,
            options.label_set,
            options.field,
            options.look_dpi,
            options.max_pages,
            settings.image_max_pixels,
            settings.image_max_side,
        )

    @classmethod
    def stored(cls, state: State) -> Self | None:
        """Those of the last run that was not dry; None if the folder is new."""
        fields = state.get(_FILLED_BY)
        return None if fields is None else cls(**{**fields, "keep": Keep(fields["keep"])})

    def store(self, state: State) -> None:
        state.put(_FILLED_BY, asdict(self))

    def may_remove_what(self, before: Rules) -> bool:
        """Whether files that stay by rules ``before`` may go by these."""
        return (
            _WIDTHS[self.keep] < _WIDTHS[before.keep]
            or (self.label_set, self.look_dpi) != (before.label_set, before.look_dpi)
            or self.max_pages < before.max_pages
            or self.max_pixels < before.max_pixels
            or self.max_side < before.max_side
        )

    def __str__(self) -> str:
        return (
            f"--keep {self.keep} --label-set {self.label_set} --look-dpi {self.look_dpi:g} "
            f"--max-pages {self.max_pages}, images to {self.max_pixels} pixels and {self.max_side} a side"
        )


def require_same_rules(rules: Rules, options: Options, state: State, folder: Path) -> None:
    """Raises InvalidRequest: a day was something else in earlier runs; or files that these kept may go, and
    ``options.prune`` does not say that this is meant.
    """
    before = Rules.stored(state)
    if before is None:
        return
    if before.date_field != rules.date_field:
        raise InvalidRequest(
            f"{folder} has days by --date-field {before.date_field}, which would be mixed with those by "
            f"{rules.date_field}; give another --out"
        )
    if options.dry_run or options.prune:
        return
    number = Documents(state).number_of_files()
    if number and rules.may_remove_what(before):
        raise InvalidRequest(
            f"{folder} has {number} files kept by {before}. Judged by {rules}, some may be removed. Give the "
            "same again, or another --out, or --prune if that is what you want"
        )


def remember_rules(rules: Rules, options: Options, state: State) -> None:
    """For the next run. A dry one keeps nothing, so the folder is still as it was filled before."""
    if not options.dry_run or Rules.stored(state) is None:
        rules.store(state)
