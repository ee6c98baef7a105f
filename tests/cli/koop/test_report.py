"""``sightline koop report``."""

from __future__ import annotations

from pathlib import Path

from koopserver import KoopServer


def test_a_contact_sheet_is_written(sightline, koop: KoopServer, tmp_path: Path) -> None:
    sightline("koop", "download", "--from", "2024-01-13", "--to", "2024-01-14")
    done = sightline("koop", "report")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.rstrip().endswith("koop/report/index.html")
    page = (tmp_path / "koop" / "report" / "2024-01.html").read_text("utf-8")
    assert f'href="{koop.reader_url}/gmb-2024-' in page
    assert done.stdout.startswith(f"{page.count('<figure>')} pictures of 2 days")


def test_dates_are_checked(sightline, koop: KoopServer) -> None:
    assert sightline("koop", "report").exit_code == 2
    sightline("koop", "download", "--from", "2024-01-13", "--to", "2024-01-13")
    done = sightline("koop", "report", "--from", "13 January")
    assert done.exit_code == 2
    assert "is not a date" in done.stderr
    upside_down = sightline("koop", "report", "--from", "2024-01-13", "--to", "2024-01-12")
    assert upside_down.exit_code == 2
    assert "before it begins" in upside_down.stderr
