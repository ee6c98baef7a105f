from __future__ import annotations

from pathlib import Path

import pytest

from sightline.capabilities.label_sets import LabelRule, LabelSet
from sightline.errors import ConfigurationError, InvalidParameters, ModelBroken
from sightline.models.label_sets import MODELS, LabelSets, check, connect
from sightline.settings import Settings
from sightline.types import Provenance

OWN = """
[weather]
description = "what the sky does"
[weather.labels]
rain = ["a photo of rain", "people with umbrellas"]
sun = ["a sunny day"]
[weather.rules.wet]
any_above = { rain = 0.5 }
"""


def settings_of(path: Path | None) -> Settings:
    return Settings(_env_file=None, label_sets=path)


def sets_of(path: Path | None = None) -> LabelSets:
    connection = connect(settings_of(path))
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
        return connect(settings_of(path)).identity

    before = identity(own)
    assert before == identity(own)
    assert before != identity(None)
    own.write_text(OWN.replace("0.5", "0.6"), "utf-8")
    assert identity(own) != before
    own.write_text(OWN.replace("umbrellas", "hats"), "utf-8")
    assert identity(own) != before


def test_a_text_alone_needs_no_brackets(own: Path) -> None:
    own.write_text(OWN.replace('["a sunny day"]', '"a sunny day"'), "utf-8")
    check(settings_of(own))
    assert ask(sets_of(own), "weather").prompts[1] == ("sun", ("a sunny day",))


def test_a_byte_order_mark_and_a_home_folder_are_fine(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.write_text(OWN, "utf-8-sig")
    monkeypatch.setenv("HOME", str(own.parent))
    assert ask(sets_of(Path("~") / own.name), "weather").labels == ("rain", "sun")
    check(settings_of(Path("~") / own.name))


@pytest.mark.parametrize("condition", ["any_above = { rain = 0.5 }", "all_below = { sun = 0.5 }"])
def test_one_condition_is_enough_for_a_rule(own: Path, condition: str) -> None:
    own.write_text(OWN.replace("any_above = { rain = 0.5 }", condition), "utf-8")
    check(settings_of(own))
    (rule,) = ask(sets_of(own), "weather").rules
    assert rule.labels


def test_a_text_may_stand_for_two_labels_that_have_others_too(own: Path) -> None:
    own.write_text("[weather.labels]\nrain = ['sky', 'drops']\nsun = ['sky', 'blue']", "utf-8")
    check(settings_of(own))


def labels(text: str) -> str:
    return f"[weather.labels]\n{text}"


WRONG = [
    ("[weather", "not TOML"),
    ("a = " + "[" * 5000, "not TOML"),
    ("weather = 5", r"weather: a set needs a table \[name-of-the-set.labels\]"),
    (labels("rain = 'rain'\nsun = 'sun'").replace("weather.", ""), "labels: a set needs a table"),
    ("[weather]\nlabels = 5", r"weather.labels: each label needs a line with its texts, as in dog = \["),
    ("[weather]\nlabels = ['rain', 'sun']", "weather.labels: each label needs a line with its texts"),
    (labels("rain = ['rain']"), "at least 2"),
    (labels("rain = []\nsun = ['sun']"), "weather.labels.rain"),
    (labels("rain = 5\nsun = ['sun']"), "weather.labels.rain: a label has a text or a list of texts, as in"),
    (labels("rain = ['']\nsun = ['sun']"), "weather.labels.rain.0: a text must not be blank"),
    (labels("rain = ['rain', '  ']\nsun = ['sun']"), "weather.labels.rain.1: a text must not be blank"),
    (labels("rain = ' '\nsun = ['sun']"), "a text must not be blank"),
    (
        labels("rain = ['a photo of {}']\nsun = ['sun']"),
        r"rain.0: 'a photo of \{\}' has braces, as templates",
    ),
    (labels("rain = ['a {label}']\nsun = ['sun']"), "has braces"),
    (labels("rain = ['sky']\nsun = 'sky'"), "weather: 'rain' and 'sun' have the same texts"),
    (labels("rain = ['a', 'the  Sky']\nsun = ['the sky', 'a']"), "'rain' and 'sun' have the same texts"),
    ("[weather]\ncolour = 'x'\n" + labels("a = ['a']\nb = ['b']"), "weather.colour"),
    (OWN.replace("rain = 0.5", "rain = 1.5"), "weather.rules.wet.any_above.rain"),
    (OWN.replace("any_above = { rain = 0.5 }", ""), "weather.rules.wet: a rule needs any_above or all_below"),
    (OWN.replace("any_above = { rain = 0.5 }", "any_above = {}"), "a rule needs any_above or all_below"),
    (OWN.replace("{ rain = 0.5", "{ snow = 0.5"), "'snow', which is none of the set's labels: rain, sun"),
    (OWN.replace("weather", "map-or-aerial"), "'map-or-aerial' is taken"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_a_file_that_is_wrong_says_where_at_start(own: Path, text: str, problem: str) -> None:
    own.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=f"^SIGHTLINE_LABEL_SETS: .*{problem}") as caught:
        check(settings_of(own))
    assert str(own.parent) not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(own: Path, tmp_path: Path) -> None:
    own.write_bytes(b"\xff\xfe\x00")
    for path, problem in (
        (own, "not TOML"),
        (tmp_path / "none.toml", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("~nobody-of-that-name/mine.toml"), "cannot be read: .*home"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            check(settings_of(path))


def test_without_a_file_nothing_is_wrong() -> None:
    check(settings_of(None))


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_a_file_that_became_wrong_harms_no_built_in_set(own: Path, text: str, problem: str) -> None:
    own.write_text(text, "utf-8")
    sets = sets_of(own)
    for name in ("map-or-aerial", "kind-of-picture"):
        assert ask(sets, name) == ask(sets_of(), name)
    with pytest.raises(
        ModelBroken, match=f"no label set 'weather'.*SIGHTLINE_LABEL_SETS: .*{problem}"
    ) as caught:
        ask(sets, "weather")
    assert str(own.parent) not in str(caught.value)


def test_it_needs_no_files() -> None:
    (definition,) = MODELS
    assert definition.card.artifacts == ()
    assert definition.connect is not None


def test_the_check_is_part_of_its_definition(own: Path) -> None:
    (definition,) = MODELS
    definition.check(settings_of(own))
    own.write_text("[weather", "utf-8")
    with pytest.raises(ConfigurationError, match="not TOML"):
        definition.check(settings_of(own))
