"""``sightline koop status``."""

from __future__ import annotations

import json

from koopserver import KoopServer, faults


def test_a_folder_is_summed_up(sightline, koop: KoopServer) -> None:
    sightline("koop", "download", "--from", "2024-01-13", "--to", "2024-01-14")
    shown = json.loads(sightline("koop", "status", "--json").stdout)
    assert (shown["first"], shown["last"], shown["days"]) == ("2024-01-13", "2024-01-14", {"complete": 2})
    assert shown["publications"] == 6
    assert set(shown["items"]) <= {"kept", "rejected", "skipped"}
    assert shown["disk_bytes"] > 0
    assert set(shown["rates_per_s"]) >= {koop.repository_url, koop.reader_url}
    text = sightline("koop", "status").stdout
    assert "2024-01-13 to 2024-01-14" in text
    assert "2 complete" in text
    assert next(iter(shown["verdicts"])) in text


def test_what_failed_is_listed(sightline, koop: KoopServer) -> None:
    koop.fail("2024-01-14", faults.diagnostic(10, "mismatched input"))
    assert sightline("koop", "download", "--from", "2024-01-13", "--to", "2024-01-14").exit_code == 1
    (failed,) = json.loads(sightline("koop", "status", "--json").stdout)["unsound"]
    assert (failed["date"], failed["state"]) == ("2024-01-14", "failed")
    text = sightline("koop", "status").stdout
    assert "2024-01-14 failed: " in text
    assert "mismatched input" in text
    assert "--retry-failed" in text


def test_without_a_download_there_is_nothing_to_say(sightline) -> None:
    done = sightline("koop", "status", "--out", "nowhere")
    assert done.exit_code == 2
    assert "nowhere holds no download" in done.stderr
