from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from sightline.operations import EmbeddingStyle, Params, RegionParams, catalogue
from sightline.operations.detect_bounding_box import BoundingBox, DetectBoundingBox
from sightline.operations.embed_clip import EmbedClip, EmbedClipVitB32
from sightline.operations.embed_text import EmbedText
from sightline.types import FaceContext, Target

vectors = arrays(np.float32, st.integers(1, 40), elements=st.floats(-100, 100, width=32))


@given(vectors)
def test_a_vector_is_written_raw_by_default(vector: np.ndarray) -> None:
    result = EmbeddingStyle().written(vector, "space")
    assert result.vector == vector.tolist()
    assert (result.dimensions, result.space, result.normalized) == (vector.size, "space", False)


@given(vectors)
def test_a_normalized_vector_has_length_one_or_is_zero(vector: np.ndarray) -> None:
    result = EmbeddingStyle(normalize=True).written(vector, "space")
    length = float(np.linalg.norm(np.array(result.vector, np.float64)))
    assert result.normalized
    assert np.isfinite(length)
    if np.linalg.norm(vector) > 1e-6:
        assert length == pytest.approx(1, abs=1e-5)


@given(vectors, st.booleans())
def test_base64_holds_the_same_float32_numbers(vector: np.ndarray, normalize: bool) -> None:
    text = EmbeddingStyle(normalize=normalize, encoding="base64").written(vector, "space").vector
    numbers = EmbeddingStyle(normalize=normalize).written(vector, "space").vector
    assert isinstance(text, str)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), np.array(numbers, np.float32))


def test_writing_leaves_the_vector_alone() -> None:
    """It is remembered by the scene, and other tasks get the same one."""
    vector = np.array([3, 4], np.float32)
    EmbeddingStyle(normalize=True).written(vector, "space")
    assert vector.tolist() == [3, 4]


def test_parameters_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RegionParams().target = Target.PROMINENT_FACE  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Params.model_validate({"x": 1})


def test_a_face_is_looked_for_within_the_person_by_default() -> None:
    assert RegionParams().face_context is FaceContext.PROMINENT_PERSON


@pytest.mark.parametrize("name", ["embed_clip", "embed_clip_vit_b_32"])
def test_an_embedding_is_a_bare_list_in_the_old_contract(name: str) -> None:
    result = EmbeddingStyle().written(np.array([1, 2], np.float32), "space")
    assert catalogue()[name].plain(result) == [1.0, 2.0]


def test_a_box_is_a_bare_list_in_the_old_contract() -> None:
    found = BoundingBox(box=[1, 2, 3, 4], score=0.5, label="face")
    assert DetectBoundingBox().plain(found) == [1, 2, 3, 4]


def test_a_box_has_four_numbers() -> None:
    with pytest.raises(ValidationError, match="at least 4"):
        BoundingBox(box=[1, 2, 3], score=0.5, label="face")


def test_the_operation_of_the_old_contract_knows_one_model_only() -> None:
    assert EmbedClip.Params.model_validate({"model": "clip-vit-l-14"}).model == "clip-vit-l-14"
    with pytest.raises(ValidationError, match="model"):
        EmbedClipVitB32.Params.model_validate({"model": "clip-vit-l-14"})


@pytest.mark.parametrize("text", ["", "x" * 2001])
def test_a_text_has_a_sensible_length(text: str) -> None:
    with pytest.raises(ValidationError, match="text"):
        EmbedText.Params.model_validate({"text": text})
