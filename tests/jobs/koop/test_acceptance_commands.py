"""The commands themselves, from one end to the other: arguments, lines, exit codes, files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from koopserver import KoopServer, faults, quirks
from lxml import html
from typer.testing import CliRunner, Result

from sightline.cli.app import app
from sightline.jobs.koop.store.folder import occupied

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=29)
SEVENTH = FIRST + timedelta(days=6)
ALL = ("--from", str(FIRST), "--to", str(LAST))

Run = Callable[..., Result]


@pytest.fixture
def run(koop: KoopServer, seeing_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("status", "--json")`` is ``sightline koop status --json``, in a folder of its own."""
    variables = {
        "MODELS_DIR": seeing_models,
        "OFFLINE": 1,
        "ALLOW_RANDOM_WEIGHTS": 1,
        "PRECISION": "f32",
        "KOOP_CONTACT": "https://example.org/tests",
        "KOOP_SEARCH_URL": koop.search_url,
        "KOOP_READER_URL": koop.reader_url,
        "KOOP_ATTACHMENTS_URL": koop.attachments_folder,
        "KOOP_RATE_PER_S": 5000,
        "KOOP_MAX_RATE_PER_S": 5000,
        "KOOP_BURST": 1000,
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"SIGHTLINE_{name}", str(value))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["koop", *arguments], prog_name="sightline")

    return invoke


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def manifest(folder: Path = Path("koop")) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_thirty_days_with_one_broken_and_then_healed(koop: KoopServer, run: Run) -> None:
    koop.alter("gmb", quirks.bare)
    koop.alter(r"gmb-2024-\d{3}0001", quirks.illustrated("map", "aerial"))
    koop.fail(str(SEVENTH), faults.diagnostic(10, "mismatched input"), times=1)
    broken = run("download", *ALL)
    assert broken.exit_code == 1
    *days, end = lines(broken)
    assert [each["event"] for each in days] == ["day"] * 30
    assert [each["date"] for each in days] == [str(FIRST + timedelta(days=n)) for n in range(30)]
    assert end["days"] == {"complete": 29, "failed": 1}
    assert [each["date"] for each in end["unsound"]] == [str(SEVENTH)]
    assert f"{SEVENTH} failed" in broken.stderr
    assert "mismatched input" in broken.stderr
    assert "--retry-failed" in broken.stderr

    healed = run("download", "--retry-failed")
    assert healed.exit_code == 0, healed.stderr
    assert lines(healed)[0]["date"] == str(SEVENTH)
    status = run("status", "--json")
    assert json.loads(status.stdout)["days"] == {"complete": 30}
    kept = [line for line in manifest() if line["state"] == "kept"]
    assert [line["day"] for line in kept] == sorted(
        str(FIRST + timedelta(days=n)) for n in range(30) for _ in "12"
    )
    assert {line["label"] for line in kept} == {"maps", "aerial_satellite"}
    assert run("download", *ALL).exit_code == 0


def test_what_is_kept_is_what_the_rules_say(koop: KoopServer, run: Run) -> None:
    last = FIRST + timedelta(days=5)
    result = run("download", "--from", str(FIRST), "--to", str(last), "--dpi", "72", "--parquet")
    assert result.exit_code == 0, result.stderr
    assert "random weights" in result.stderr
    kinds = Counter((line["label"], line["state"]) for line in manifest() if line["label"])
    assert {label for label, state in kinds if state != "kept"} == {"miscellaneous"}
    assert kinds["maps", "kept"] > 3
    assert kinds["aerial_satellite", "kept"] > 1
    files = {line["file"] for line in manifest() if line["file"]}
    assert {
        str(each.relative_to("koop")) for each in Path("koop/blobs").rglob("*") if each.is_file()
    } >= files
    assert all((Path("koop") / each).is_file() for each in files)
    assert Path("koop/manifest.parquet").is_file()

    report = run("report")
    assert report.exit_code == 0, report.stderr
    pages = list(Path("koop/report").rglob("*.html"))
    linked, shown = set[str](), set[Path]()
    for page in pages:
        document = html.fromstring(page.read_bytes())
        linked |= {url for _, _, url, _ in document.iterlinks() if url.startswith("http")}
        shown |= {(page.parent / url).resolve() for url in document.xpath("//img/@src")}
    decisions = {line["page_url"] for line in manifest() if line["state"] == "kept"}
    assert decisions <= linked
    assert len(shown) >= len(files)
    assert all(each.is_file() for each in shown)


def test_a_dry_run_keeps_nothing_and_the_run_after_it_fetches(koop: KoopServer, run: Run) -> None:
    result = run("download", "--from", str(FIRST), "--to", str(FIRST), "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert lines(result)[0]["kept"] > 0
    assert not [each for each in Path("koop/blobs").rglob("*") if each.is_file()]
    assert not Path("koop/manifest.jsonl").exists()
    verdicts = json.loads(run("status", "--json").stdout)["verdicts"]
    assert sum(verdicts.values()) > 0
    again = run("download", "--from", str(FIRST), "--to", str(FIRST))
    assert lines(again)[0]["kept"] == lines(result)[0]["kept"]
    assert json.loads(run("status", "--json").stdout)["verdicts"] == verdicts


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--from", "2024-06-30", "--to", "2024-06-01"), "before it begins"),
        (("--from", "1700-01-01", "--to", "2024-06-01"), "too early"),
        (("--from", "2024-13-01", "--to", "2024-06-01"), "is not a date"),
        (("--from", "yesterday", "--to", "2024-06-01"), "YYYY-MM-DD"),
        (("--from", "2024-06-01"), "both --from and --to"),
        (("--from", "2999-01-01", "--to", "2999-01-02"), "still to come"),
    ],
)
def test_ranges_that_are_none(arguments: tuple[str, ...], complaint: str, koop: KoopServer, run: Run) -> None:
    result = run("download", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert koop.log == []


def test_nobody_is_asked_without_a_contact(
    koop: KoopServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGHTLINE_KOOP_CONTACT")
    result = run("download", *ALL)
    assert (result.exit_code, koop.log) == (2, [])
    assert "--contact" in result.stderr


def test_missing_weights_are_told_before_anything_is_asked(
    koop: KoopServer, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(tmp_path / "none"))
    result = run("download", *ALL)
    assert (result.exit_code, koop.log) == (1, [])
    assert "sightline models" in result.stderr
    everything = run("download", "--from", str(FIRST), "--to", str(FIRST), "--keep", "all")
    assert everything.exit_code == 0
    assert "without a verdict" in everything.stderr
    assert {line["state"] for line in manifest()} <= {"kept", "skipped", "complete"}


def test_folders_that_cannot_be_written(koop: KoopServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    below = run("download", *ALL, "--out", str(tmp_path / "file" / "koop"))
    assert below.exit_code == 2
    assert "cannot be written" in below.stderr
    assert koop.log == []


def test_two_downloads_into_one_folder(koop: KoopServer, run: Run, tmp_path: Path) -> None:
    with occupied(tmp_path / "koop"):
        result = run("download", *ALL)
    assert (result.exit_code, koop.log) == (2, [])
    assert "another download" in result.stderr


def test_status_and_report_of_no_download(run: Run) -> None:
    for command in ("status", "report"):
        result = run(command)
        assert result.exit_code == 2
        assert "holds no download" in result.stderr


def test_only_the_listed_hosts_are_asked(
    koop: KoopServer, run: Run, koop_server: Callable[..., KoopServer]
) -> None:
    elsewhere = koop_server()
    koop.fail(r"\.xml", faults.redirect_to(f"{elsewhere.reader_url}/gmb-2024-1550001.xml"))
    result = run("download", "--from", str(FIRST), "--to", str(FIRST))
    assert result.exit_code == 1
    assert "not on the list" in result.stderr
    assert elsewhere.log == []
