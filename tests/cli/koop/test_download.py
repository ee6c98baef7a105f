"""``sightline koop download`` as people and programs see it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from koopserver import KoopServer, faults

DAYS = ("--from", "2024-01-13", "--to", "2024-01-15")


def events(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The days and the end."""
    *days, end = map(json.loads, text.splitlines())
    assert {each["event"] for each in days} <= {"day"}
    assert end["event"] == "end"
    return days, end


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


def blobs(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in (folder / "blobs").rglob("*") if each.is_file()}


def test_maps_and_aerial_views_stay_and_the_rest_goes(sightline, koop: KoopServer, tmp_path: Path) -> None:
    done = sightline("koop", "download", *DAYS, "--out", "out")
    assert done.exit_code == 0, done.stderr
    days, end = events(done.stdout)
    assert [each["date"] for each in days] == ["2024-01-13", "2024-01-14", "2024-01-15"]
    assert {each["state"] for each in days} == {"complete"}
    assert [each["days"] for each in days] == [1, 2, 3]
    assert all(each["of_publications"] == each["publications"] == 3 for each in days)
    assert (end["days"], end["publications"], end["unsound"]) == ({"complete": 3}, 9, [])
    lines = manifest(tmp_path / "out")
    kept = {line["file"] for line in lines if line["file"]} | {
        line["source_file"] for line in lines if line["source_file"]
    }
    assert blobs(tmp_path / "out") == kept
    assert {line["label"] for line in lines if line["file"]} <= {"maps", "aerial_satellite"}
    assert sum(each["kept"] for each in days) == end["items"]["kept"]
    assert "random weights" in done.stderr


def test_the_same_again_asks_for_nothing(sightline, koop: KoopServer, tmp_path: Path) -> None:
    sightline("koop", "download", *DAYS)
    asked, before = len(koop.log), (tmp_path / "koop" / "manifest.jsonl").read_bytes()
    done = sightline("koop", "download", *DAYS)
    assert done.exit_code == 0
    assert events(done.stdout)[0] == []
    assert len(koop.log) == asked
    assert (tmp_path / "koop" / "manifest.jsonl").read_bytes() == before


def test_what_failed_is_listed_and_can_be_tried_again(sightline, koop: KoopServer) -> None:
    koop.fail("2024-01-14", faults.status(403), times=1)
    done = sightline("koop", "download", *DAYS)
    assert done.exit_code == 1
    (failed,) = events(done.stdout)[1]["unsound"]
    assert (failed["date"], failed["state"]) == ("2024-01-14", "failed")
    assert "403" in failed["error"]
    assert "2024-01-14 failed: " in done.stderr
    assert "--retry-failed" in done.stderr
    again = sightline("koop", "download", *DAYS)
    assert (again.exit_code, events(again.stdout)[0]) == (1, [])
    healed = sightline("koop", "download", "--retry-failed")
    assert healed.exit_code == 0, healed.stderr
    assert [each["date"] for each in events(healed.stdout)[0]] == ["2024-01-14"]
    nothing = sightline("koop", "download", "--retry-failed")
    assert (nothing.exit_code, nothing.stderr) == (0, "nothing has failed\n")


def test_without_dates_only_days_that_failed_are_tried_again(sightline, koop: KoopServer) -> None:
    for day in ("2024-01-10", "2024-01-15"):
        koop.fail(day, faults.status(403), times=1)
        sightline("koop", "download", "--from", day, "--to", day, "--keep", "none")
    sightline("koop", "download", "--from", "2024-01-12", "--to", "2024-01-12", "--keep", "none")
    asked = len(koop.requests("/sru"))
    done = sightline("koop", "download", "--retry-failed")  # under other rules than the day in between
    assert done.exit_code == 0, done.stderr
    days, end = events(done.stdout)
    assert [each["date"] for each in days] == ["2024-01-10", "2024-01-15"]
    assert end["days"] == {"complete": 3}
    assert len(koop.requests("/sru")) == asked + 2


def test_days_that_an_interrupted_retry_left_are_taken_up(
    sightline, koop: KoopServer, tmp_path: Path
) -> None:
    sightline("koop", "download", *DAYS, "--keep", "none")
    with closing(sqlite3.connect(next(tmp_path.rglob("koop.sqlite")))) as state, state:
        (first,) = state.execute("SELECT min(date) FROM days").fetchone()
        state.execute("UPDATE days SET state = 'documents' WHERE date = ?", (first,))
    done = sightline("koop", "download", "--retry-failed", "--keep", "none")
    assert done.exit_code == 0, done.stderr
    days, _ = events(done.stdout)
    assert [(each["date"], each["state"]) for each in days] == [(first, "complete")]


def test_a_dry_run_leaves_verdicts_and_no_files(sightline, koop: KoopServer, tmp_path: Path) -> None:
    dry = sightline("koop", "download", *DAYS, "--dry-run")
    assert dry.exit_code == 0
    assert blobs(tmp_path / "koop") == set()
    assert not (tmp_path / "koop" / "manifest.jsonl").exists()
    status = json.loads(sightline("koop", "status", "--json").stdout)
    assert sum(status["verdicts"].values()) > 0
    asked = len(koop.log)
    wet = sightline("koop", "download", *DAYS)
    assert [each["kept"] for each in events(wet.stdout)[0]] == [
        each["kept"] for each in events(dry.stdout)[0]
    ]
    again = Counter(each.path for each in koop.log[asked:])
    assert all(path.endswith((".png", ".jpg", ".pdf", "/1/")) for path in again)  # no search, no text


def test_all_or_none_can_be_kept(sightline, koop: KoopServer, tmp_path: Path) -> None:
    everything = sightline(
        "koop", "download", *DAYS, "--keep", "all", "--logos", "--min-width", "0", "--out", "all"
    )
    assert everything.exit_code == 0
    assert {line["state"] for line in manifest(tmp_path / "all") if line["kind"]} == {"kept"}
    nothing = sightline("koop", "download", *DAYS, "--keep", "none", "--out", "none")
    assert nothing.exit_code == 0
    assert blobs(tmp_path / "none") == set()
    assert "classified" in {line["state"] for line in manifest(tmp_path / "none")}


def test_newest_first_and_parquet(sightline, koop: KoopServer, tmp_path: Path) -> None:
    done = sightline("koop", "download", *DAYS, "--order", "newest", "--parquet")
    assert done.exit_code == 0, done.stderr
    assert [each["date"][-2:] for each in events(done.stdout)[0]] == ["15", "14", "13"]
    lines = manifest(tmp_path / "koop")
    assert [line["day"] for line in lines] == sorted(line["day"] for line in lines)
    table = pyarrow.parquet.read_table(tmp_path / "koop" / "manifest.parquet").to_pylist()
    assert [row["url"] for row in table] == [line["url"] for line in lines]


def test_days_of_the_last_change(sightline, koop: KoopServer) -> None:
    done = sightline("koop", "download", *DAYS, "--date-field", "modified", "--keep", "none")
    assert done.exit_code == 0, done.stderr
    assert [each for each in koop.log if "dt.modified==" in each.url]


def test_excluded_words_go_into_the_question(sightline, koop: KoopServer) -> None:
    done = sightline(
        "koop", "download", *DAYS, "--exclude", "laadpaal", "--exclude-type", "elektrische voertuigen",
        "--keep", "none", "--no-attachments",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert all("laadpaal" in each.url for each in koop.requests("/sru"))
    assert not koop.requests("externebijlagen")


def test_a_search_that_asks_for_too_much_patience_ends_the_run(sightline, koop: KoopServer) -> None:
    koop.fail("2024-01-14", faults.too_many("600"), times=1)
    done = sightline("koop", "download", *DAYS, "--keep", "none", "--patience", "1")
    assert done.exit_code == 1
    assert "has given no answer" in done.stderr
    assert "The same command goes on from here" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "end"
    assert len(koop.requests("2024-01-14")) == 1


# -- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "2024-02-01", "--to", "2024-01-01"), "ends on 2024-01-01, before it begins"),
        (("--from", "1700-01-01", "--to", "1700-01-02"), "1700-01-01 is too early"),
        (("--from", "01-02-2024", "--to", "2024-01-02"), "write YYYY-MM-DD"),
        (("--from", "2999-01-01", "--to", "2999-01-02"), "still to come"),
        (("--from", "2024-01-01"), "both --from and --to"),
        ((), "both --from and --to"),
        (("--retry-failed",), "koop holds no download"),
        ((*DAYS, "--keep", "some"), "'some'"),
        ((*DAYS, "--label-set", "nope"), "no label set 'nope'"),
        ((*DAYS, "--exclude", "!!"), "no letter or digit"),
        ((*DAYS, "--contact", "two words"), "contact"),
        ((*DAYS, "--max-pages", "0"), "--max-pages"),
        ((*DAYS, "--patience", "0"), "--patience"),
    ],
)
def test_mistakes_in_the_call_cost_no_request(
    sightline, koop: KoopServer, options: tuple[str, ...], said: str
) -> None:
    done = sightline("koop", "download", *options)
    assert done.exit_code == 2, done.output
    assert said in re.sub(r"\s+", " ", done.stderr)
    assert koop.log == []


def test_the_archive_must_be_able_to_find_us(
    sightline, koop: KoopServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGHTLINE_KOOP_CONTACT")
    done = sightline("koop", "download", *DAYS)
    assert done.exit_code == 2
    assert "--contact or SIGHTLINE_KOOP_CONTACT" in done.stderr
    assert sightline("koop", "download", *DAYS, "--contact", "me@example.org").exit_code == 0
    assert "+me@example.org" in koop.log[0].user_agent


def test_missing_weights_are_told_before_anything_is_asked(
    sightline, koop: KoopServer, tmp_path: Path
) -> None:
    done = sightline("koop", "download", *DAYS, "--models-dir", str(tmp_path / "empty"))
    assert done.exit_code == 1
    assert "sightline models" in done.stderr
    assert koop.log == []
    kept = sightline("koop", "download", *DAYS, "--models-dir", str(tmp_path / "empty"), "--keep", "all")
    assert kept.exit_code == 0, kept.stderr
    assert "kept without a verdict" in kept.stderr
    assert {line["label"] for line in manifest(tmp_path / "koop")} == {None}
    assert blobs(tmp_path / "koop")


def test_a_folder_that_is_a_file_is_a_mistake(sightline, koop: KoopServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = sightline("koop", "download", *DAYS, "--out", "file")
    assert done.exit_code == 2
    assert "is a file" in done.stderr
    done = sightline("koop", "download", *DAYS, "--out", "file/below")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr


# -- processes ---------------------------------------------------------------------------------------------


def test_on_a_terminal_each_day_is_a_line(started, koop: KoopServer, environment: dict[str, str]) -> None:
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from sightline.cli import main; main()", "koop", "download", *DAYS],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment | {"COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so at the end
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    line = re.search(
        r"2024-01-13 3/3 decisions, (\d+) images, (\d+) kept, 0 failed, [\d.]+ req/s, ETA ", text
    )
    assert line is not None, text
    assert "2024-01-13 to 2024-01-15: days: 3 complete; 9 decisions" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    sent: signal.Signals, code: int, sightline, started, koop: KoopServer, tmp_path: Path
) -> None:
    process = started("koop", "download", "--from", "2023-01-01", "--to", "2023-12-31", "--keep", "none")
    assert json.loads(process.stdout.readline())["event"] == "day"
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "interrupted; the same command goes on from here" in stderr
    assert json.loads(stdout.splitlines()[-1])["event"] == "end"
    again = sightline("koop", "download", "--from", "2023-01-01", "--to", "2023-01-02", "--keep", "none")
    assert again.exit_code == 0
    assert not any((tmp_path / "koop" / "blobs" / "incoming").iterdir())


def test_two_into_one_folder_refuse_each_other(sightline, started, koop: KoopServer) -> None:
    process = started("koop", "download", "--from", "2023-01-01", "--to", "2023-12-31", "--keep", "none")
    assert process.stdout.readline()
    done = sightline("koop", "download", *DAYS)
    assert done.exit_code == 2
    assert "in use by another download" in done.stderr
    assert json.loads(sightline("koop", "status", "--json").stdout)["days"]  # reading is no trouble
