from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from pydantic import BaseModel

from sightline.cli.words import answer_in_words


class Anything(BaseModel, extra="allow"):
    """An answer of any shape."""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": "a dog asleep"}, "a dog asleep"),
        (
            {"box": [1, 2, 30, 40], "score": 0.98765, "label": "face", "landmarks": [[1.0, 2.0]]},
            "box (1, 2)–(30, 40), score 0.9877, label face",
        ),
        ({"box": [1, 2, 3, 4]}, "box (1, 2)–(3, 4)"),
        ({"animal": True, "country": None, "share": 0.5}, "animal yes, country none, share 0.5"),
        ({"labels": []}, "none"),
        ({"labels": ["cat", "dog"]}, "cat, dog"),
        ({"labels": list(range(12))}, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (12)"),
        (
            {"count": 2, "places": [{"name": "Ulm", "lat": 48.4}, {"name": "Bonn", "lat": 50.7}]},
            "count 2\nplaces:\n1. name Ulm, lat 48.4\n2. name Bonn, lat 50.7",
        ),
    ],
)
def test_shapes(fields: dict[str, Any], words: str) -> None:
    assert answer_in_words(Anything(**fields)) == words


def test_nothing() -> None:
    assert answer_in_words(None) == "nothing found"


@pytest.mark.parametrize("encode", [list, lambda v: base64.b64encode(struct.pack("<3f", *v)).decode()])
def test_a_vector_in_either_encoding(encode: Any) -> None:
    answer = Anything(vector=encode([3.0, 4.0, 0.0]), dimensions=3)
    assert answer_in_words(answer) == "3 numbers, first [3, 4, 0, …], norm 5"


def test_an_empty_vector() -> None:
    assert answer_in_words(Anything(vector=[])).startswith("0 numbers")


def test_long_lists_are_cut() -> None:
    words = answer_in_words(Anything(places=[{"name": str(number)} for number in range(13)]))
    assert words.endswith("10. 9\n… and 3 more")


def test_many_fields_are_cut() -> None:
    words = answer_in_words(Anything(**{f"field{n}": [{"a": n, "b": n}] * 9 for n in range(30)}))
    assert len(words.splitlines()) == 16
    assert "--json" in words.splitlines()[-1]


def test_nothing_in_an_answer_steers_the_terminal() -> None:
    assert "\x1b" not in answer_in_words(Anything(text="\x1b[2Jgone\x07"))
