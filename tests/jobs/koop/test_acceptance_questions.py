"""What a download asks for: which days again, by which date, without what, and which files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from koopserver import KoopServer, quirks
from rig import TODAY, CountingClassifier, Rig

from sightline.jobs.koop.archive.query import DateField, Exclusions
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.options import PROVISIONAL_DAYS
from sightline.jobs.koop.store.state import DayState

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=2)
Start = Callable[..., KoopServer]


@pytest.fixture
def rig(koop: KoopServer, tmp_path: Path) -> Rig:
    return Rig(koop, tmp_path / "out")


def publications(rig: Rig) -> list[str]:
    return list(dict.fromkeys(line["publication"] for line in rig.manifest()))


def searched(rig: Rig, day: date) -> int:
    return len(rig.koop.requests(f'/sru.*=="{day}"'))


# -- which days --------------------------------------------------------------------------------------------


async def test_recent_days_are_searched_again_until_they_are_old(rig: Rig) -> None:
    old, recent = TODAY - timedelta(days=PROVISIONAL_DAYS), TODAY - timedelta(days=PROVISIONAL_DAYS - 1)
    ended = await rig.run(old, recent)
    assert [each.provisional for each in ended] == [False, True]
    rig.koop.archive.per_day = 4  # one more is published under both dates
    (again,) = await rig.run(old, recent)
    assert (again.date, again.of_publications, again.provisional) == (recent, 4, True)
    assert (searched(rig, old), searched(rig, recent)) == (1, 2)
    (settled,) = await rig.run(old, recent, today=TODAY + timedelta(days=1))
    assert (settled.date, settled.provisional) == (recent, False)
    assert await rig.run(old, recent, today=TODAY + timedelta(days=1)) == []
    new = rig.koop.decisions(recent)[-1].identifier
    assert publications(rig).count(new) == 1
    texts = rig.koop.requests(rf"{recent.timetuple().tm_yday:03d}000\d\.xml")
    assert len(texts) == 4, "what was read is not read again"


async def test_a_provisional_day_that_was_empty_fills(rig: Rig) -> None:
    rig.koop.archive.per_day = {TODAY: 0}
    (ended,) = await rig.run(TODAY)
    assert (ended.state, ended.provisional) == (DayState.EMPTY, True)
    rig.koop.archive.per_day = {TODAY: 2}
    (ended,) = await rig.run(TODAY)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 2)


async def test_days_to_come_are_left_out(rig: Rig) -> None:
    ended = await rig.run(TODAY - timedelta(days=1), TODAY + timedelta(days=30))
    assert [each.date for each in ended] == [TODAY - timedelta(days=1), TODAY]


async def test_newest_first_begins_at_the_end(rig: Rig) -> None:
    ended = await rig.run(FIRST, LAST, newest_first=True)
    assert [each.date for each in ended] == [LAST, FIRST + timedelta(days=1), FIRST]
    assert [line["day"] for line in rig.manifest()] == sorted(line["day"] for line in rig.manifest())


# -- which decisions ---------------------------------------------------------------------------------------


async def test_by_last_change_the_days_have_other_decisions(rig: Rig) -> None:
    rig.koop.alter("gmb", quirks.bare)
    await rig.run(FIRST, LAST, field=DateField.MODIFIED)
    expected = {
        each.identifier
        for each in rig.koop.decisions(FIRST - timedelta(days=25), LAST)
        if FIRST <= each.modified <= LAST
    }
    assert set(publications(rig)) == expected
    assert not expected <= {each.identifier for each in rig.koop.decisions(FIRST, LAST)}


async def test_words_and_types_are_left_out_by_the_search(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day=20)
    koop.alter("gmb", quirks.bare)
    rig = Rig(koop, tmp_path / "out")
    exclusions = Exclusions(words=("Proefweg", "Stubkade"), decision_types=("opladen elektrische",))
    await rig.run(FIRST, exclusions=exclusions)
    expected = [
        each.identifier
        for each in koop.decisions(FIRST)
        if "Proefweg" not in each.title and "Stubkade" not in each.title and "opladen" not in each.measure
    ]
    assert 0 < len(expected) < 20
    assert publications(rig) == expected


async def test_another_question_is_asked_anew(rig: Rig) -> None:
    rig.koop.alter("gmb", quirks.bare)
    await rig.run(FIRST)
    await rig.run(FIRST, exclusions=Exclusions(words=("niets",)))
    assert len(rig.koop.requests("/sru")) == 2


async def test_a_day_of_ampersands_is_written_as_it_is(rig: Rig) -> None:
    rig.koop.alter("gmb", lambda decision: quirks.ampersand_in_title(quirks.bare(decision)))
    await rig.run(FIRST)
    assert {line["title"] for line in rig.manifest()} == {'Bakker & Zonen <hoek> "Proefweg"'}


# -- which files -------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(rig: Rig) -> Rig:
    """Each decision has a map, a sign printed small, and a logo above its title."""
    rig.koop.alter("gmb", quirks.bare)
    rig.koop.alter("gmb", quirks.illustrated("map"))
    return rig


async def test_logos_and_small_signs_are_not_fetched_unless_wanted(
    koop_server: Start, tmp_path: Path
) -> None:
    koop = koop_server(decisions_per_day=20)
    images = [image for decision in koop.decisions(FIRST) for image in decision.illustrations]
    logos = {image.name for image in images if image.in_head}
    small = {image.name for image in images if image.width == "15mm"}
    assert logos
    assert small
    rig = Rig(koop, tmp_path / "out")
    await rig.run(FIRST)
    fetched = {each.path.lstrip("/") for each in koop.requests(r"\.(png|jpg)$")}
    assert fetched == {image.name for image in images} - logos - small
    assert len([line for line in rig.manifest() if line["state"] == "skipped"]) == len(logos | small)

    await rig.run(FIRST, logos=True, min_width_mm=10.0)
    names = [each.path.lstrip("/") for each in koop.requests(r"\.(png|jpg)$")]
    assert sorted(names) == sorted(image.name for image in images), "each was fetched once"


async def test_attachments_can_be_left_out(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day=10)
    await Rig(koop, tmp_path / "out").run(FIRST, attachments=False)
    assert [each for each in koop.log if each.role == "attachments"] == []


async def test_verdicts_without_files_and_files_later(mapped: Rig) -> None:
    judge = CountingClassifier()
    mapped.judge = judge
    (ended,) = await mapped.run(FIRST, keep=Keep.NONE)
    assert (ended.images, ended.kept, len(judge.seen)) == (3, 0, 3)
    assert mapped.blobs() == set()
    (ended,) = await mapped.run(FIRST)
    assert (ended.kept, len(judge.seen), len(mapped.blobs())) == (3, 3, 3)
    assert len(mapped.koop.requests(r"\.png$")) == 6, "their bytes had been let go"


async def test_a_new_model_judges_what_is_here_without_fetching(mapped: Rig) -> None:
    await mapped.run(FIRST)
    asked = len(mapped.koop.log)
    other = CountingClassifier(model="another", wants=lambda data: False)
    mapped.judge = other
    (ended,) = await mapped.run(FIRST)
    assert (ended.images, ended.kept, len(other.seen)) == (3, 0, 3)
    assert len(mapped.koop.log) == asked
    assert mapped.blobs() == set()
    assert {(line["model"], line["state"]) for line in mapped.manifest()} == {("another", "rejected")}


async def test_everything_stays_without_a_judge(mapped: Rig) -> None:
    mapped.judge = None
    (ended,) = await mapped.run(FIRST, keep=Keep.ALL)
    assert (ended.state, ended.kept, len(mapped.blobs())) == (DayState.COMPLETE, 3, 3)
    assert {line["label"] for line in mapped.manifest()} == {None}


async def test_from_the_repository_texts_come_where_records_say(mapped: Rig) -> None:
    await mapped.run(FIRST, from_repository=True)
    assert len(mapped.koop.requests(r"/frbr/.*\.xml$")) == 3
    assert mapped.koop.requests(r"^/gmb.*\.xml$") == []


async def test_rates_that_were_learned_are_remembered(mapped: Rig) -> None:
    await mapped.run(FIRST)
    with_rates = dict(mapped.query("SELECT key, value FROM meta"))
    assert mapped.koop.reader_url in with_rates["learned_rates"]
