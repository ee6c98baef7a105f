from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.collections import Index, Ranked, Recipe, Record, Scores, Space
from sightline.collections.records import INDICES, RECORDS, age, is_version
from sightline.types import FaceContext, Target

CLIP = Space("clip-vit-b-32", "0123456789abcdef")
DINO = Space("dinov2-base", "fedcba9876543210")
RECIPE = Recipe((CLIP, DINO), 1280)
SHARES = st.floats(0, 1)
COUNTS = st.integers(0, 10**6)
SCORES = st.builds(Scores, SHARES, SHARES, SHARES, SHARES, COUNTS, COUNTS)
VERSIONS = st.from_regex(r"\A[0-9]{8}T[0-9]{6}Z(-[1-9][0-9]{0,3})?\Z")
RECIPES = st.builds(
    Recipe,
    st.lists(
        st.builds(Space, st.text(min_size=1, max_size=100), st.none() | st.just("ab" * 8)),
        min_size=1,
        max_size=3,
    ).map(tuple),
    st.integers(1, 4096),
    st.sampled_from(Target),
    st.sampled_from(FaceContext),
)
RECORD_VALUES = st.builds(
    Record,
    collection=st.just("7"),
    version=VERSIONS,
    recipe=RECIPES,
    weights_sha256=st.just("0" * 64),
    origin=st.just("trained"),
    trained_at=st.none() | st.just("2026-11-21T00:00:00+00:00"),
    examples=st.none() | COUNTS,
    positives=st.none() | COUNTS,
    held_out=st.none() | SCORES,
    threshold=SHARES,
)


@settings(deadline=None)
@given(RECORD_VALUES)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert RECORDS.from_bytes(RECORDS.to_bytes(record)) == record


@settings(deadline=None)
@given(
    st.builds(
        Index,
        st.just("7"),
        VERSIONS,
        st.lists(VERSIONS, max_size=3).map(tuple),
        st.lists(st.builds(Ranked, VERSIONS, SCORES), max_size=3).map(tuple),
    )
)
def test_an_index_is_read_as_it_was_written(index: Index) -> None:
    assert INDICES.from_bytes(INDICES.to_bytes(index)) == index


def a_record(**changes: object) -> Record:
    record = Record("7", "20261121T000000Z", RECIPE, "0" * 64, "trained", None)
    return dataclasses.replace(record, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"collection": "../8"},
        {"version": "newest"},
        {"weights_sha256": "0" * 63},
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"origin": "two\nlines"},
        {"examples": -1},
        {"format": 2},
        {"recipe": Recipe((), 4)},
        {"recipe": Recipe((CLIP,), 0)},
        {"recipe": Recipe((Space("clip", "not hex"),), 4)},
    ],
    ids=str,
)
def test_a_record_that_could_not_be_read_is_not_written(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        RECORDS.to_bytes(a_record(**changes))


def test_vectors_fit_the_recipe_they_were_made_by_and_no_other() -> None:
    assert RECIPE.fits(RECIPE)
    others = [
        Recipe((CLIP,), 1280),
        Recipe((DINO, CLIP), 1280),
        Recipe((CLIP, DINO), 1024),
        Recipe((CLIP, dataclasses.replace(DINO, fingerprint="0" * 16)), 1280),
        dataclasses.replace(RECIPE, target=Target.PROMINENT_FACE),
        dataclasses.replace(RECIPE, face_context=FaceContext.WHOLE_IMAGE),
    ]
    assert not any(RECIPE.fits(other) or other.fits(RECIPE) for other in others)


def test_a_fingerprint_nobody_knows_may_be_any() -> None:
    unknown = Recipe((Space(CLIP.name), DINO), 1280)
    assert RECIPE.fits(unknown)
    assert unknown.fits(RECIPE)


def test_a_recipe_in_words() -> None:
    assert str(RECIPE) == "clip-vit-b-32 + dinov2-base of the whole image, 1280 numbers"
    face = Recipe((CLIP,), 512, Target.PROMINENT_FACE, FaceContext.WHOLE_IMAGE)
    assert str(face) == "clip-vit-b-32 of the prominent face in the whole image, 512 numbers"


def test_versions_sort_by_the_time_they_were_made() -> None:
    by_age = ["20261120T235959Z", "20261121T000000Z", "20261121T000000Z-2", "20261121T000000Z-10"]
    assert sorted(set(by_age), key=age) == by_age


@pytest.mark.parametrize(
    "name", ["", "..", "20261121", "20261121T000000Z-0", "20261121T000000Z/..", "x" * 16]
)
def test_what_is_no_version(name: str) -> None:
    assert not is_version(name)
