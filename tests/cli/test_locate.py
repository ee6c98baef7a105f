"""``sightline locate`` with a model that always says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

# The operation asks the first model that can, and "a" is first.
MODEL = """
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.geolocation import GEOLOCATION, Geolocation, LocationCandidate, LocationCluster
from sightline.types import Coordinate

WHERE = ((64.42, -173.23, 0.5), (-18.14, 178.44, 0.25), (41.9022, 12.4533, 0.125))

class Guess:
    def prepare(self, view):
        return view.pixels().mean()

    def infer(self, items):
        candidates = tuple(LocationCandidate(Coordinate(lat, lon), share) for lat, lon, share in WHERE)
        cluster = LocationCluster(candidates[0].coordinate, 0.5, 12.0)
        return [Geolocation(candidates, (cluster,), 4.25, 9210.0) for _ in items]

CARD = ModelCard(
    name="a-guess", capabilities=frozenset({GEOLOCATION}), description="d", licence="CC0-1.0",
    homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0,
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: Guess()),)
"""


@pytest.fixture(autouse=True)
def _guesses(plugins: Path, environment, models_dir, installed_places, monkeypatch) -> None:
    (plugins / "models" / "guess.py").write_text(MODEL)
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(models_dir))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")


def rows(output: str) -> list[str]:
    return [" ".join(line.split()) for line in output.splitlines() if line.strip()]


def test_a_table_of_candidates_and_how_far_to_trust_them(sightline, photo) -> None:
    done = sightline("locate", photo())
    assert done.exit_code == 0, done.output
    shown = rows(done.stdout)
    assert "1 64.4200 -173.2300 50 % Provideniya, Chukotka, RU" in shown
    assert "2 -18.1400 178.4400 25 % Suva, Central, FJ" in shown
    assert "3 41.9022 12.4533 12.5 % Vatican City, VA" in shown
    trust = (
        "Around candidate 1: 50 % of the probability within 4.2 km, 90 % of the probability within 9,210 km"
    )
    assert trust in shown


def test_top_is_the_number_of_candidates(sightline, photo) -> None:
    done = sightline("locate", photo(), "--top", "1")
    assert "Provideniya" in done.stdout
    assert "Suva" not in done.stdout


@pytest.mark.parametrize("top", ["0", "101", "many"])
def test_a_top_out_of_range_is_a_mistake(sightline, photo, top: str) -> None:
    assert sightline("locate", photo(), "--top", top).exit_code == 2


def test_json_is_one_line_per_photo_as_the_server_writes_it(sightline, photo) -> None:
    done = sightline("locate", photo("a.png"), photo("b.png"), "--json", "--top", "2")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["source"] for line in lines] == ["a.png", "b.png"]
    (result,) = lines[0]["results"].values()
    assert result["status"] == "ok"
    assert [candidate["place"] for candidate in result["data"]["candidates"]] == [
        "Provideniya, Chukotka, RU",
        "Suva, Central, FJ",
    ]


def test_a_map_is_a_png_under_the_name_that_was_given(sightline, photo, tmp_path: Path) -> None:
    done = sightline("locate", photo(), "--map", "maps/where.png")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "maps" / "where.png") as image:
        assert (image.format, image.size) == ("PNG", (1600, 800))
    assert "wrote maps/where.png" in done.stderr


def test_several_photos_have_numbered_maps_and_a_bad_one_has_none(sightline, photo, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    done = sightline("locate", photo("a.png"), "bad.jpg", photo("c.png"), "--map", "out.png")
    assert done.exit_code == 1
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out-1.png", "out-3.png"]
    assert "bad.jpg" in done.stderr


def test_without_outlines_no_photo_is_looked_at(sightline, photo, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(tmp_path / "empty"))
    done = sightline("locate", photo(), "--map", "out.png")
    assert done.exit_code == 1
    assert "sightline models pull places" in done.stderr
    assert "Suva" not in done.stdout
    assert not (tmp_path / "out.png").exists()


def test_without_names_the_coordinates_are_still_told(sightline, photo, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(tmp_path / "empty"))
    done = sightline("locate", photo())
    assert done.exit_code == 0, done.output
    assert "1 64.4200 -173.2300 50 % –" in rows(done.stdout)
    assert "no place names" in done.stdout


def test_a_photo_is_needed(sightline) -> None:
    assert sightline("locate").exit_code == 2
