from __future__ import annotations

import pytest

from sightline.errors import InvalidParameters, UnknownModel
from sightline.jobs.collections.plans import Plan, known_spaces, spaces_of, with_fingerprints


@pytest.mark.parametrize(
    ("written", "spaces"),
    [
        ("clip", ("clip-vit-b-32",)),
        ("dinov2", ("dinov2-base",)),
        ("clip+dinov2", ("clip-vit-b-32", "dinov2-base")),
        (" dinov2 + clip ", ("dinov2-base", "clip-vit-b-32")),
        ("embed_clip_vit_b_32+embed_dino_v2", ("clip-vit-b-32", "dinov2-base-518")),
        ("clip-vit-l-14", ("clip-vit-l-14",)),
    ],
)
def test_words_for_embeddings(written: str, spaces: tuple[str, ...]) -> None:
    assert spaces_of(written, known_spaces()) == spaces


@pytest.mark.parametrize(
    "written", ["", "+", "clip+", "clip+clip", "clip+clip-vit-b-32", "+".join("abcdefghi")]
)
def test_words_for_none(written: str) -> None:
    with pytest.raises(InvalidParameters, match="names no embeddings; write clip, dinov2"):
        spaces_of(written)


def test_an_embedding_that_is_not_here_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownModel, match=r"no embedding 'clop'; there are .*clip-vit-b-32.*in short clip"):
        spaces_of("clop", known_spaces())
    assert spaces_of("clop") == ("clop",)


def test_fingerprints_are_those_somebody_knows() -> None:
    one, two = with_fingerprints(("a", "b"), {"b": "0" * 16, "c": "1" * 16})
    assert (one.fingerprint, two.fingerprint) == (None, "0" * 16)


def test_other_spaces_keep_the_part_of_the_picture() -> None:
    plan = Plan(target="prominent_face").of_spaces("dinov2")
    assert (plan.spaces, plan.target) == (("dinov2-base",), "prominent_face")
