from __future__ import annotations

import html
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.jobs.collections.sources.wrapped_json import list_in

DATA = [{"id": 1, "name": 'Cats & "dogs" <b>'}, {"id": 2, "name": "[x] {y} ünï"}]
PLAIN = json.dumps(DATA)
ESCAPED = html.escape(PLAIN)
IN_SCRIPT = PLAIN.replace("</", "<\\/")


@pytest.mark.parametrize(
    "page",
    [
        PLAIN,
        f"\ufeff  {PLAIN}\n",
        f"<html><body><pre>{ESCAPED}</pre></body></html>",
        f"<!doctype html><html><head><title>[draft]</title></head><body>{ESCAPED}</body></html>",
        f"<body><h1>Data [2]</h1><p>{ESCAPED}</p></body>",
        f"<body><script>window.config = {{a: [1]}};\nconst data = {IN_SCRIPT};</script></body>",
        f'<script type="application/json">{ESCAPED}</script>',
        f"<body><pre style='x'><code>{ESCAPED}</code></pre>",
        f"<html><body><div><pre>{ESCAPED}",
        f"collections: {PLAIN} -- end",
    ],
    ids=lambda page: page[:30],
)
def test_the_list_is_found(page: str) -> None:
    assert list_in(page.encode()) == DATA


def test_numbers_that_are_none_are_left_to_the_reader() -> None:
    (entry,) = list_in(b'[{"embedding": [NaN, 1.5]}]')
    assert entry["embedding"][0] != entry["embedding"][0]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"", "without a list"),
        (b"sorry", "without a list"),
        (b'{"error": "no such collection"}', "an object that says 'no such collection'"),
        (b'{"a": 1}', "an object"),
        (b"17", "a int"),
        (b"<html><body><h1>502 Bad Gateway [nginx]</h1></body></html>", "a page without a list"),
        (b"[" * 100_000, "without a list"),
        (b"<body>" + b"[" * 100_000, "a page without"),
        (b"\xff\xfe\x00", "without a list"),
    ],
)
def test_what_is_there_instead_is_said(page: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list_in(page)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc<>&\"'"), inner, max_size=3),
    max_leaves=8,
)


# How fast data is made up is the machine's business.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.text("abc<&"), values, max_size=3), min_size=1, max_size=4))
def test_any_data_survives_its_page(data: list[Any]) -> None:
    page = (
        f"<html><head><title>t</title></head><body><pre>{html.escape(json.dumps(data))}</pre></body></html>"
    )
    assert list_in(page.encode()) == data


@given(st.binary(max_size=200) | st.text("<>/pre[]{}&#;\"'a ", max_size=200).map(str.encode))
def test_nothing_but_a_value_error_ever(page: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(list_in(page), list)
