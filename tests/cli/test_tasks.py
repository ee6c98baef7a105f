from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.cli.tasks import read_tasks
from sightline.errors import InvalidParameters

KEYS = st.from_regex(r"[a-z_]{1,10}", fullmatch=True)
VALUES = st.one_of(st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.text()))


def params(text: str) -> dict[str, object]:
    (task,) = read_tasks([text])
    return dict(task.params)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("o", {}),
        ("o:", {}),
        ("o:a=1,b=two words,c=true", {"a": "1", "b": "two words", "c": "true"}),
        ("o:a=x=y", {"a": "x=y"}),
        ("o:a=https://example.org/?q=1", {"a": "https://example.org/?q=1"}),
        ("o:a=null,b=", {"a": None, "b": ""}),
        ('o:a="x, y",b=[1,2],c={"d":"e,f"}', {"a": "x, y", "b": [1, 2], "c": {"d": "e,f"}}),
        ("o: a=1, b=2", {"a": "1", "b": "2"}),
    ],
)
def test_reads(text: str, expected: dict[str, object]) -> None:
    assert params(text) == expected


@pytest.mark.parametrize(
    "text", ["o:a", "o:=1", "o:a=1,b", "o:a=1,a=2", 'o:a="x', 'o:a="x"y', "o:a=[1", "o:a,b=1"]
)
def test_refuses_and_quotes_what_it_refuses(text: str) -> None:
    with pytest.raises(InvalidParameters, match="--task"):
        read_tasks([text])


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_written_as_json_is_read_back(values: dict[str, object]) -> None:
    text = "o:" + ",".join(f"{key}={json.dumps(value)}" for key, value in values.items())
    assert params(text) == values


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_tasks([text])
    except InvalidParameters:
        return


def test_a_deeply_nested_value_is_refused() -> None:
    with pytest.raises(InvalidParameters):
        read_tasks(["o:a=" + "[" * 100_000])


def test_ids_are_names_and_numbers() -> None:
    assert [task.id for task in read_tasks(["a", "b:x=1", "a", "a"])] == ["a", "b", "a-2", "a-3"]
