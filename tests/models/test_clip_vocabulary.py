"""The stand-in tokenizer has everything of CLIP's but its merges."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sightline.models.clip_vocabulary import stand_in


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return stand_in()


def test_the_table_has_clips_size_and_ends(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 49408
    assert tokenizer.token_to_id("<|startoftext|>") == 49406
    assert tokenizer.token_to_id("<|endoftext|>") == 49407
    # The first and last entries that do not depend on what was learnt.
    assert [tokenizer.id_to_token(number) for number in (0, 255, 256, 511)] == ["!", "Ń", "!</w>", "Ń</w>"]
    assert len(json.loads(tokenizer.to_str())["model"]["merges"]) == 48894


def test_it_is_always_the_same(tokenizer: Tokenizer) -> None:
    assert tokenizer.to_str() == stand_in().to_str()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("A  Photo", ["a</w>", "p", "ho", "to</w>"]),
        ("it's 12", ["it</w>", "'", "s</w>", "1</w>", "2</w>"]),
        ("e\u0301", ["Ã", "©</w>"]),  # composed first, then two bytes
    ],
)
def test_texts_are_cut_as_clip_cuts_them(tokenizer: Tokenizer, text: str, tokens: list[str]) -> None:
    assert tokenizer.encode(text).tokens == ["<|startoftext|>", *tokens, "<|endoftext|>"]


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30))
@settings(max_examples=100, deadline=None)
def test_every_character_can_be_read(tokenizer: Tokenizer, text: str) -> None:
    """Bytes are the alphabet, so nothing is unknown: the end token stands at the end alone."""
    ids = tokenizer.encode(text).ids
    assert ids.index(49407) == len(ids) - 1
