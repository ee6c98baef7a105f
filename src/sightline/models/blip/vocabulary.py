"""A tokenizer for random weights, where the real one cannot be had.

It is a genuine BERT tokenizer in all but its words: WordPiece, lower case, 30522 entries, the special tokens
at their true ids. Only the words, which were counted in a corpus, are made up: syllables of two letters, then
words of two syllables and of three, half of them continuing a word (``##``), until the table is full. The two
entries that BLIP adds, [DEC] 30522 and [ENC] 30523, are not in the published file, and not in this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, product

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from sightline.errors import WeightsError
from sightline.models.blip.captioner import BEGIN_TOKEN, END_TOKEN

_PREFIX = "##"
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_CHARACTERS = _PUNCTUATION + "0123456789abcdefghijklmnopqrstuvwxyz"
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"


def stand_in() -> Tokenizer:
    """Always the same tokenizer."""
    vocabulary = {entry: number for number, entry in enumerate(islice(_entries(), BEGIN_TOKEN))}
    if vocabulary["[SEP]"] != END_TOKEN or len(vocabulary) != BEGIN_TOKEN:
        raise WeightsError("the stand-in vocabulary is not laid out like BERT's")
    tokenizer = Tokenizer(
        models.WordPiece(
            vocab=vocabulary,
            unk_token="[UNK]",  # noqa: S106  a token of another kind
            continuing_subword_prefix=_PREFIX,
            max_input_chars_per_word=100,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", END_TOKEN), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX, cleanup=True)
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def _entries() -> Iterator[str]:
    """In the order of their ids, which begin as BERT's do."""
    yield "[PAD]"
    yield from (f"[unused{number}]" for number in range(99))
    yield from ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
    yield from (f"[unused{number}]" for number in range(99, 994))
    yield from chain(_CHARACTERS, (_PREFIX + character for character in _CHARACTERS))
    syllables = ["".join(pair) for pair in product(_CONSONANTS, _VOWELS)]
    for word in chain(
        syllables, *(("".join(parts) for parts in product(syllables, repeat=n)) for n in (2, 3))
    ):
        yield word
        yield _PREFIX + word
