"""Which rules may remove what others kept, and which a folder remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from stored import MONDAY, ONE_DAY, ended_day

from sightline.errors import InvalidRequest
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.rules import Rules, remember_rules, require_same_rules
from sightline.jobs.koop.store.state import State
from sightline.settings import Settings

USUAL = Rules(Keep.WOULD_DOWNLOAD, "map-or-aerial", "available", 100.0, 50, 1000, 100, "words")
LAST = MONDAY + 3 * ONE_DAY


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """Four days with a file each."""
    with State(tmp_path / "koop.sqlite") as opened:
        for number in range(4):
            ended_day(opened, MONDAY + number * ONE_DAY, {f"p{number}": [f"{number}.png"]})
        yield opened


def options(**changes: Any) -> Options:
    return replace(Options(MONDAY, LAST), **changes)


def require(rules: Rules, state: State, **changes: Any) -> None:
    require_same_rules(rules, options(**changes), state, Path("koop"))


def remember(rules: Rules, state: State, **changes: Any) -> None:
    require(rules, state, **changes)
    remember_rules(rules, options(**changes), state)


def test_rules_are_of_settings_and_options() -> None:
    settings = Settings(image_max_pixels=1234, image_max_side=56)
    chosen = options(keep=Keep.ALL, label_set="mine", look_dpi=60.0, max_pages=7)
    assert Rules.of(settings, chosen, "abc") == Rules(
        Keep.ALL, "mine", "available", 60.0, 7, 1234, 56, "abc"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "may_remove"),
    [
        ({}, False),
        ({"keep": Keep.NONE}, True),
        ({"keep": Keep.ALL}, False),
        ({"label_set": "other"}, True),
        ({"look_dpi": 120.0}, True),
        ({"look_dpi": 80.0}, True),
        ({"max_pages": 49}, True),
        ({"max_pages": 51}, False),
        ({"max_pixels": 999}, True),
        ({"max_pixels": 1001}, False),
        ({"max_side": 99}, True),
        ({"max_side": 101}, False),
        ({"words": "other words"}, True),
        ({"words": None}, False),
    ],
)
def test_what_sees_or_keeps_less_may_remove(changes: dict[str, Any], may_remove: bool, state: State) -> None:
    remember(USUAL, state)
    rules = replace(USUAL, **changes)
    assert rules.may_remove_what(USUAL) is may_remove
    if may_remove:
        with pytest.raises(InvalidRequest, match=r"has 4 files kept by .*--prune"):
            require(rules, state)
    else:
        require(rules, state)
    require(rules, state, prune=True)
    require(rules, state, dry_run=True)


def test_a_folder_without_files_has_nothing_to_lose(tmp_path: Path) -> None:
    with State(tmp_path / "koop.sqlite") as state:
        remember(USUAL, state)
        remember(replace(USUAL, keep=Keep.NONE), state)
        assert Rules.stored(state) == (replace(USUAL, keep=Keep.NONE),)


def test_pruning_some_of_the_days_unlocks_no_others(state: State) -> None:
    everything, nothing = replace(USUAL, keep=Keep.ALL), replace(USUAL, keep=Keep.NONE)
    remember(everything, state)
    for part in ({"last": MONDAY}, {"first": LAST}, {"only_failed": True}):
        remember(nothing, state, prune=True, **part)
        assert Rules.stored(state) == (everything,)
        with pytest.raises(InvalidRequest, match="--prune"):
            require(nothing, state)
    remember(nothing, state, prune=True)
    assert Rules.stored(state) == (nothing,)
    require(nothing, state)


def test_rules_of_which_none_is_the_wider_count_together(state: State) -> None:
    other = replace(USUAL, label_set="other")
    remember(USUAL, state)
    remember(other, state, prune=True, last=MONDAY)
    assert set(Rules.stored(state)) == {USUAL, other}
    for rules in (USUAL, other):
        with pytest.raises(InvalidRequest, match="--prune"):
            require(rules, state)
    remember(USUAL, state, prune=True)
    assert Rules.stored(state) == (USUAL,)


def test_wider_rules_need_no_leave_and_are_remembered(state: State) -> None:
    wider = replace(USUAL, keep=Keep.ALL, max_pages=60)
    remember(USUAL, state)
    remember(wider, state, last=MONDAY)
    assert Rules.stored(state) == (wider,)


def test_a_dry_run_changes_nothing(state: State) -> None:
    remember(USUAL, state)
    remember(replace(USUAL, keep=Keep.NONE), state, dry_run=True)
    assert Rules.stored(state) == (USUAL,)


def test_without_a_judge_the_words_are_those_before(state: State) -> None:
    remember(USUAL, state)
    remember(replace(USUAL, keep=Keep.ALL, words=None), state)
    assert Rules.stored(state) == (replace(USUAL, keep=Keep.ALL),)


def test_rules_of_older_versions_are_read(state: State) -> None:
    fields = asdict(USUAL)
    for name in ("max_pages", "max_pixels", "max_side", "words"):
        del fields[name]
    state.put("filled_by", fields)
    (before,) = Rules.stored(state)
    assert (before.keep, before.max_pages, before.max_pixels) == (Keep.WOULD_DOWNLOAD, 50, 50_000_000)
    assert before.words is None
    assert not replace(before, words="now known").may_remove_what(before)


def test_days_of_two_kinds_are_not_mixed(state: State) -> None:
    remember(USUAL, state)
    with pytest.raises(InvalidRequest, match="another --out"):
        require(replace(USUAL, date_field="modified"), state, prune=True)
