"""Judgements, by content and by model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import judgement

from sightline.jobs.koop.store.results import Classification, PageResult, Results
from sightline.jobs.koop.store.state import State


@pytest.fixture
def verdicts(tmp_path: Path) -> Iterator[Results]:
    with State(tmp_path / "koop.sqlite") as state:
        yield Results(state)


shares = st.floats(0, 1, allow_nan=False)


@given(numbers=st.lists(shares, min_size=1, max_size=4), pages=st.integers(0, 5))
def test_a_judgement_comes_back_to_the_last_digit(
    numbers: list[float], pages: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    share = {f"label {at}": number for at, number in enumerate(numbers)}
    found = tuple(
        PageResult(page, "label 0", numbers[0], share, page % 2 == 0) for page in range(1, pages + 1)
    )
    saved = Classification("abc", "model", pages, found, note="a note")
    with State(tmp_path_factory.mktemp("v") / "koop.sqlite") as state:
        Results(state).save(saved)
        assert Results(state).find("abc", "model") == saved
        assert list(Results(state).find("abc", "model").verdicts[0].probabilities if pages else share) == [
            *share
        ]


def test_models_do_not_speak_for_each_other(verdicts: Results) -> None:
    verdicts.save(judgement("abc", model="old"))
    assert verdicts.find("abc", "new") is None
    verdicts.save(judgement("abc", model="new", wanted=False))
    assert verdicts.find("abc", "old").would_download
    assert not verdicts.find("abc", "new").would_download
    assert verdicts.count() == {"new": 1, "old": 1}


def test_a_later_judgement_replaces_all_pages_of_the_one_before(verdicts: Results) -> None:
    verdicts.save(judgement("abc", pages=3))
    verdicts.save(judgement("abc", pages=1, wanted=False))
    found = verdicts.find("abc", "first-model")
    assert [each.page for each in found.verdicts] == [1]
    assert not found.would_download


def test_pages_seen_by_either_look_are_known_and_none_is_forgotten() -> None:
    whole = judgement("abc", pages=3)
    one, two, three = whole.verdicts
    first = replace(whole, verdicts=(one, two), code="invalid_image", note="page 3 was not looked at")
    again = replace(first, verdicts=(two, three), note="page 1 was not looked at")
    assert (first.in_part, whole.in_part) == (True, False)
    assert first.and_then(again) == replace(again, verdicts=whole.verdicts)
    assert first.and_then(whole) == whole
    failed = Classification("abc", whole.model, 3, code="invalid_image", error="too slow")
    assert not failed.in_part
    assert first.and_then(failed) == first


def test_failures_can_be_forgotten_and_verdicts_not(verdicts: Results) -> None:
    verdicts.save(Classification("bad", "model", 0, code="invalid_image", error="torn"))
    verdicts.save(judgement("good"))
    assert verdicts.find("bad", "model").error == "torn"
    assert not verdicts.find("bad", "model").would_download
    verdicts.forget_failures("bad")
    verdicts.forget_failures("good")
    assert verdicts.find("bad", "model") is None
    assert verdicts.find("good", "first-model") is not None
