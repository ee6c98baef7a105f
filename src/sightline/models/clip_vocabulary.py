"""A tokenizer for random weights, where the real one cannot be had.

It is a genuine CLIP tokenizer in all but its merges: byte-level BPE with ``</w>`` at the ends of words, 49408
entries, start and end at their true ids. Only the merges, which were learnt from a corpus, are made up: pairs
of letters, then triples, then quadruples until the table is full. Words therefore fall into pieces of about
three letters, somewhat more of them than the real one makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, product
from string import ascii_lowercase

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from sightline.errors import WeightsError
from sightline.models.clip_backbone import END_TOKEN

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_NUM_MERGES = 48_894  # 49408 entries less 256 bytes, 256 bytes at word ends, start and end

# How CLIP cuts a text before bytes are merged.
_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def stand_in() -> Tokenizer:
    """Always the same tokenizer."""
    # CLIP numbers bytes by the character that stands for them, which is their order here.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(islice(_merges(), _NUM_MERGES))
    entries = chain(
        alphabet,
        (byte + _WORD_END for byte in alphabet),
        (left + right for left, right in merges),
        (START, END),
    )
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix=_WORD_END,
            fuse_unk=False,
            unk_token=END,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([START, END])
    if vocabulary[END] != END_TOKEN:
        raise WeightsError(f"the stand-in vocabulary ends at {vocabulary[END]} instead of {END_TOKEN}")
    return tokenizer


def _merges() -> Iterator[tuple[str, str]]:
    longer = list(ascii_lowercase)
    while True:
        joined = list(product(longer, ascii_lowercase))
        yield from joined
        yield from ((left, right + _WORD_END) for left, right in joined)
        longer = [left + right for left, right in joined]
