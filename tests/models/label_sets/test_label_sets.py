from __future__ import annotations

from pathlib import Path

import pytest

from sightline.errors import InvalidParameters, ModelBroken
from sightline.models.label_sets import MODELS, LabelSets, connect
from sightline.settings import Settings
from sightline.types import LabelRule, LabelSet, Provenance

OWN = """
[weather]
description = "what the sky does"
[weather.labels]
rain = ["a photo of rain", "people with umbrellas"]
sun = ["a sunny day"]
[weather.rules.wet]
any_above = { rain = 0.5 }
"""


def sets_of(path: Path | None = None) -> LabelSets:
    connection = connect(Settings(_env_file=None, label_sets=path))
    assert connection.provenance is Provenance.BUILT_IN
    assert isinstance(connection.model, LabelSets)
    return connection.model


def ask(sets: LabelSets, name: str) -> LabelSet:
    (found,) = sets.infer([sets.prepare(name)])
    return found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(OWN, "utf-8")
    return path


def test_the_classes_and_the_rule_of_the_traffic_decisions() -> None:
    found = ask(sets_of(), "map-or-aerial")
    assert found.labels == ("maps", "aerial_satellite", "miscellaneous")
    assert found.rules == (
        LabelRule(
            "is_map_or_aerial",
            any_above=(("maps", 0.4), ("aerial_satellite", 0.4)),
            all_below=(("miscellaneous", 0.6),),
        ),
    )
    assert all(prompts for _, prompts in found.prompts)


def test_the_general_set_has_no_rules() -> None:
    found = ask(sets_of(), "kind-of-picture")
    assert {"photograph", "map", "screenshot"} <= set(found.labels)
    assert found.rules == ()


def test_no_text_stands_for_two_labels_of_a_built_in_set() -> None:
    for name in ("map-or-aerial", "kind-of-picture"):
        texts = [text for _, prompts in ask(sets_of(), name).prompts for text in prompts]
        assert len(texts) == len(set(texts))


def test_sets_of_ones_own_come_in_addition(own: Path) -> None:
    sets = sets_of(own)
    assert ask(sets, "weather") == LabelSet(
        "weather",
        (("rain", ("a photo of rain", "people with umbrellas")), ("sun", ("a sunny day",))),
        (LabelRule("wet", any_above=(("rain", 0.5),)),),
    )
    assert ask(sets, "map-or-aerial").labels


def test_an_unknown_set_is_answered_with_those_there_are(own: Path) -> None:
    with pytest.raises(
        InvalidParameters, match="'wether'; there are map-or-aerial, kind-of-picture, weather"
    ):
        ask(sets_of(own), "wether")


def test_other_words_have_another_identity(own: Path) -> None:
    def identity(path: Path | None) -> str:
        return connect(Settings(_env_file=None, label_sets=path)).identity

    before = identity(own)
    assert before == identity(own)
    assert before != identity(None)
    own.write_text(OWN.replace("0.5", "0.6"), "utf-8")
    assert identity(own) != before
    own.write_text(OWN.replace("umbrellas", "hats"), "utf-8")
    assert identity(own) != before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[weather", "not TOML"),
        ("[weather]\nlabels = 5", "weather.labels"),
        ("[weather.labels]\nrain = ['rain']", "at least 2"),
        ("[weather.labels]\nrain = []\nsun = ['sun']", "weather.labels.rain"),
        ("[weather.labels]\nrain = 'rain'\nsun = ['sun']", "weather.labels.rain"),
        ("[weather.labels]\nrain = ['']\nsun = ['sun']", "weather.labels.rain.0"),
        ("[weather]\ncolour = 'x'\n[weather.labels]\na = ['a']\nb = ['b']", "weather.colour"),
        (OWN.replace("rain = 0.5", "rain = 1.5"), "weather.rules.wet.any_above.rain"),
        (OWN.replace("{ rain = 0.5", "{ snow = 0.5"), "'snow', which is none of the set's labels: rain, sun"),
        (OWN.replace("weather", "map-or-aerial"), "'map-or-aerial' is taken"),
    ],
)
def test_a_file_that_is_wrong_says_where(own: Path, text: str, problem: str) -> None:
    own.write_text(text, "utf-8")
    with pytest.raises(ModelBroken, match=f"SIGHTLINE_LABEL_SETS: .*{problem}") as caught:
        sets_of(own)
    assert str(own.parent) not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(own: Path, tmp_path: Path) -> None:
    own.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelBroken, match="not TOML"):
        sets_of(own)
    with pytest.raises(ModelBroken, match="cannot be read: No such file"):
        sets_of(tmp_path / "none.toml")


def test_it_needs_no_files() -> None:
    (definition,) = MODELS
    assert definition.card.artifacts == ()
    assert definition.connect is not None
