"""The stand-in tokenizer has everything of BERT's but its words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sightline.models.blip.vocabulary import stand_in


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return stand_in()


def test_the_table_is_laid_out_like_berts(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 30522
    wanted = {0: "[PAD]", 1: "[unused0]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 999: "!"}
    assert {number: tokenizer.id_to_token(number) for number in wanted} == wanted
    assert tokenizer.id_to_token(30521) is not None


def test_it_is_always_the_same(tokenizer: Tokenizer) -> None:
    assert tokenizer.to_str() == stand_in().to_str()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("Bibo, BIBO!", ["bibo", ",", "bibo", "!"]),
        ("ba1", ["ba", "##1"]),
        ("é", ["e"]),
        ("ж", ["[UNK]"]),
    ],
)
def test_texts_are_cut_as_bert_cuts_them(tokenizer: Tokenizer, text: str, tokens: list[str]) -> None:
    assert tokenizer.encode(text).tokens == ["[CLS]", *tokens, "[SEP]"]


@given(st.lists(st.sampled_from(["bibo", "ba", "dodu", "x", "7"]), max_size=8))
@settings(max_examples=50, deadline=None)
def test_words_come_back(tokenizer: Tokenizer, words: list[str]) -> None:
    text = " ".join(words)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
