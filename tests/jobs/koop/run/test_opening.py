"""A run put together from settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from koopserver import KoopServer, quirks
from stored import MONDAY, ONE_DAY

from sightline.errors import ConfigurationError, InvalidRequest, ModelUnavailable
from sightline.jobs.koop.archive.query import DateField, Exclusions
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.output.manifest import rows
from sightline.jobs.koop.run.opening import downloading, manners_from, page_limits
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.progress import DayEnded, Event, Warned
from sightline.settings import Settings


def settings_of(koop: KoopServer, models_dir: Path, **changes: Any) -> Settings:
    usual = {
        "models_dir": models_dir, "offline": True, "allow_random_weights": True, "precision": "f32",
        "koop_search_url": koop.search_url, "koop_reader_url": koop.reader_url,
        "koop_attachments_url": koop.attachments_folder, "koop_contact": "https://example.org/tests",
        "koop_rate_per_s": 500.0, "koop_burst": 500,
    }  # fmt: skip
    return Settings(**{**usual, **changes})


def options_of(settings: Settings, **changes: Any) -> Options:
    usual = {"attachments_at": settings.koop_attachments_url, "reader_at": settings.koop_reader_url}
    return Options(MONDAY, MONDAY, **{**usual, **changes})


async def test_a_run_is_ready_and_goes(koop: KoopServer, seeing_models: Path, tmp_path: Path) -> None:
    settings = settings_of(koop, seeing_models)
    events: list[Event] = []
    async with downloading(settings, options_of(settings), tmp_path / "out", events.append) as (job, state):
        assert koop.log == []
        await job.run()
        assert state.count_days() == {"complete": 1}
    warnings = [each.message for each in events if isinstance(each, Warned)]
    assert any("random weights" in each for each in warnings)
    assert [each.publications for each in events if isinstance(each, DayEnded)] == [3]
    assert koop.log


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"last": MONDAY - ONE_DAY}, "before it begins"),
        ({"exclusions": Exclusions(words=("?",))}, "no letter or digit"),
    ],
)
async def test_questions_that_cannot_be_asked(
    changes: dict[str, Any], said: str, koop: KoopServer, seeing_models: Path, tmp_path: Path
) -> None:
    settings = settings_of(koop, seeing_models)
    options = Options(**{"first": MONDAY, "last": MONDAY, **changes})
    with pytest.raises(InvalidRequest, match=said):
        async with downloading(settings, options, tmp_path / "out", lambda event: None):
            pass
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes", [{"max_pages": 50}, {"look_dpi": 60.0, "prune": True}], ids=["more pages", "other resolution"]
)
async def test_documents_that_are_here_are_judged_again_under_other_settings(
    changes: dict[str, Any], koop: KoopServer, seeing_models: Path, tmp_path: Path
) -> None:
    settings = settings_of(koop, seeing_models)
    koop.alter("gmb", lambda decision: quirks.map_on_page_two(quirks.bare(decision)))

    async def run(**changes: Any) -> list[tuple[int, bool, str]]:
        options = options_of(settings, keep=Keep.ALL, **changes)
        async with downloading(settings, options, tmp_path / "out", lambda event: None) as (job, state):
            await job.run()
            return [(row["page"], row["would_download"], row["model"]) for row in rows(state) if row["page"]]

    before = await run(max_pages=1)
    assert {page for page, *_ in before} == {1}
    asked = len(koop.log)
    after = await run(**{"max_pages": 1, **changes})
    assert len(koop.log) == asked
    assert not {model for *_, model in before} & {model for *_, model in after}
    if "max_pages" in changes:
        assert {(page, wanted) for page, wanted, _ in after} == {(1, False), (2, True), (3, False)}


async def test_without_weights_only_everything_can_be_kept(koop: KoopServer, tmp_path: Path) -> None:
    settings = settings_of(koop, tmp_path / "empty")
    for changes in ({}, {"keep": Keep.NONE}, {"keep": Keep.ALL, "dry_run": True}):
        with pytest.raises(ModelUnavailable):
            async with downloading(
                settings, options_of(settings, **changes), tmp_path / "out", lambda event: None
            ):
                pass
    assert koop.log == []
    events: list[Event] = []
    options = options_of(settings, keep=Keep.ALL)
    async with downloading(settings, options, tmp_path / "out", events.append):
        (warning,) = (each.message for each in events if isinstance(each, Warned))
        assert warning.startswith("images are kept without a verdict: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"keep": Keep.WOULD_DOWNLOAD},
        {"keep": Keep.NONE},
        {"label_set": "other"},
        {"look_dpi": 120.0},
        {"max_pages": 5},
    ],
)
async def test_an_option_that_was_forgotten_removes_nothing(
    changes: dict[str, Any], koop: KoopServer, seeing_models: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[other.labels]\na = ["x"]\nb = ["y"]\n[other.rules.r]\nany_above = { a = 0.5 }\n', encoding="utf-8"
    )
    settings = settings_of(koop, seeing_models, label_sets=own)
    out = tmp_path / "out"

    async def run(**changes: Any) -> int:
        """How many files stay."""
        options = replace(options_of(settings, **changes), last=MONDAY + 4 * ONE_DAY)
        async with downloading(settings, options, out, lambda event: None) as (job, _):
            await job.run()
        return sum(each.is_file() for each in (out / "blobs").rglob("*"))

    everything = await run(keep=Keep.ALL)
    assert everything > 0
    fewer = {"keep": Keep.ALL, **changes}
    with pytest.raises(InvalidRequest, match=r"kept by --keep all .*map-or-aerial.*--prune"):
        await run(**fewer)
    assert await run(**fewer, dry_run=True) == everything
    assert await run(keep=Keep.ALL) == everything
    assert await run(**fewer, prune=True) < everything or "keep" not in changes
    assert await run(**fewer) <= everything  # these are the folder's rules now


async def test_words_that_were_changed_under_the_same_name_remove_nothing(
    koop: KoopServer, seeing_models: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"

    def write(share: float) -> None:
        words = '[mine.labels]\na = ["a map"]\nb = ["a photo"]\n[mine.rules.r]\n'
        own.write_text(f"{words}any_above = {{ a = {share} }}\n", encoding="utf-8")

    async def run(**changes: Any) -> int:
        """How many files stay."""
        settings = settings_of(koop, seeing_models, label_sets=own)
        options = options_of(settings, label_set="mine", **changes)
        async with downloading(settings, options, tmp_path / "out", lambda event: None) as (job, _):
            await job.run()
        return sum(each.is_file() for each in (tmp_path / "out" / "blobs").rglob("*"))

    write(0.0)
    everything = await run()
    assert everything > 0
    write(0.999999)
    with pytest.raises(InvalidRequest, match=r"kept by .*mine \([0-9a-f]{8}\).*--prune"):
        await run()
    assert await run(prune=True) < everything
    await run()


async def test_pruning_one_day_unlocks_no_other(
    koop: KoopServer, seeing_models: Path, tmp_path: Path
) -> None:
    koop.alter("gmb", lambda decision: quirks.illustrated("map")(quirks.bare(decision)))
    settings = settings_of(koop, seeing_models)

    async def run(last: date, **changes: Any) -> int:
        """How many files stay."""
        options = replace(options_of(settings, **changes), last=last)
        async with downloading(settings, options, tmp_path / "out", lambda event: None) as (job, _):
            await job.run()
        return sum(each.is_file() for each in (tmp_path / "out" / "blobs").rglob("*"))

    last = MONDAY + ONE_DAY
    assert await run(last, keep=Keep.ALL) == 6
    assert await run(MONDAY, keep=Keep.NONE, prune=True) == 3
    with pytest.raises(InvalidRequest, match="--prune"):
        await run(last, keep=Keep.NONE)
    assert await run(last, keep=Keep.NONE, prune=True) == 0


async def test_days_of_two_kinds_are_not_mixed(koop: KoopServer, seeing_models: Path, tmp_path: Path) -> None:
    settings = settings_of(koop, seeing_models)
    async with downloading(settings, options_of(settings), tmp_path / "out", lambda event: None):
        pass
    other = options_of(settings, field=DateField.MODIFIED)
    with pytest.raises(InvalidRequest, match=r"days by --date-field available.*another --out"):
        async with downloading(settings, other, tmp_path / "out", lambda event: None):
            pass
    assert koop.log == []


def test_the_policy_follows_the_settings(koop: KoopServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_KOOP_CONTACT"):
        manners_from(settings_of(koop, tmp_path, koop_contact=None))
    with pytest.raises(ConfigurationError, match="contact"):
        manners_from(settings_of(koop, tmp_path, koop_contact="no spaces please"))
    usual = manners_from(Settings(koop_contact="me@example.org"))
    assert (usual.rate_per_s, usual.ceiling_per_s, usual.burst) == (0.85, 0.95, 50.0)
    assert (usual.floor_per_s, usual.concurrent) == (0.1, 4)
    assert "me@example.org" in usual.user_agent
    slow = manners_from(
        Settings(koop_contact="me@example.org", koop_rate_per_s=0.01, koop_max_rate_per_s=0.001)
    )
    assert (slow.floor_per_s, slow.rate_per_s, slow.ceiling_per_s) == (0.01, 0.01, 0.01)


def test_pages_follow_settings_and_options(koop: KoopServer, tmp_path: Path) -> None:
    settings = settings_of(koop, tmp_path, koop_page_timeout_s=3, image_max_pixels=1000)
    limits = page_limits(settings, Options(MONDAY, MONDAY, max_pages=7, look_dpi=50, keep_dpi=150))
    assert (limits.look_dpi, limits.keep_dpi) == (50, 150)
    assert (limits.pdf.max_pages, limits.pdf.page_timeout_s, limits.pdf.max_page_pixels) == (7, 3, 1000)
