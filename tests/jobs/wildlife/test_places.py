from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.errors import InvalidParameters, InvalidRequest
from sightline.jobs.wildlife.places import Place, Places, read_places

FOLDER = Path("photos")
NAIROBI = Place(latitude=-1.286, longitude=36.817)


def anything(place: Place) -> None:
    """Every place makes sense."""


def written(path: Path, *instances: object) -> Path:
    path.write_text(json.dumps({"instances": list(instances)}))
    return path


def test_instances_are_read_as_speciesnet_has_them(tmp_path: Path) -> None:
    path = written(
        tmp_path / "instances.json",
        {"filepath": "cam1/a.jpg", "country": "KEN", "something": "else"},
        {"filepath": "b.jpg", "country": "USA", "admin1_region": "CA", "latitude": 38.5, "longitude": -121},
        {"filepath": "nowhere.jpg", "country": None},
    )
    assert read_places(path, FOLDER, anything) == {
        "cam1/a.jpg": Place("KEN"),
        "b.jpg": Place("USA", "CA", 38.5, -121.0),
    }


def test_a_table_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "Places.CSV"
    path.write_text(
        "filepath,latitude,longitude,country\n"
        '"cam 1/a, b.jpg",-1.286,36.817,\n'
        "c.jpg,,,TZA\n",
        "utf-8-sig",
    )  # fmt: skip
    assert read_places(path, FOLDER, anything) == {"cam 1/a, b.jpg": NAIROBI, "c.jpg": Place("TZA")}


def test_absolute_paths_are_taken_below_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = tmp_path / "photos" / "cam1" / "a.jpg", tmp_path / "others" / "a.jpg"
    path = written(
        tmp_path / "instances.json",
        {"filepath": str(inside), "country": "KEN"},
        {"filepath": str(outside), "country": "TZA"},
    )
    places = read_places(path, FOLDER, anything)
    assert places == {"cam1/a.jpg": Place("KEN"), outside.as_posix(): Place("TZA")}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "no json", "instances"),
        ("a.json", '[{"filepath": "a.jpg"}]', "instances"),
        ("a.json", '{"images": []}', "instances"),
        ("a.json", '{"instances": {"a.jpg": "KEN"}}', "must be a list"),
        ("a.json", "[" * 100_000, "instances"),
        ("a.json", '{"instances": ["a.jpg"]}', "instance 1 must have a 'filepath'"),
        ("a.json", '{"instances": [{"filepath": "a.jpg"}, {"country": "KEN"}]}', "instance 2 must have"),
        ("a.json", '{"instances": [{"filepath": "a.jpg", "country": 7}]}', "a.jpg: country must be text"),
        ("a.json", '{"instances": [{"filepath": "a.jpg", "latitude": []}]}', "a number of degrees"),
        ("a.csv", "filepath,latitude\na.jpg,north\n", "instance 1, a.jpg: latitude must be a number"),
        ("a.csv", "file,country\na.jpg,KEN\n", "instance 1 must have a 'filepath'"),
        ("a.csv", 'filepath,country\n"a.jpg,KEN\n', "columns"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=said) as raised:
        read_places(path, FOLDER, anything)
    assert str(raised.value).startswith(name)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    for name in ("a.json", "a.csv"):
        (tmp_path / name).write_bytes(b"filepath,country\n\xff\xfe.jpg,KEN\n")
        with pytest.raises(InvalidRequest, match="UnicodeDecodeError"):
            read_places(tmp_path / name, FOLDER, anything)


def test_each_place_is_checked_once_and_the_instance_is_named(tmp_path: Path) -> None:
    checked: list[Place] = []

    def check(place: Place) -> None:
        checked.append(place)
        if place.country == "XX":
            raise InvalidRequest("there is no XX")

    path = written(
        tmp_path / "a.json",
        *({"filepath": f"{number}.jpg", "country": "KEN"} for number in range(5)),
        {"filepath": "bad.jpg", "country": "XX"},
    )
    with pytest.raises(InvalidRequest, match=r"^a.json: instance 6, bad.jpg: there is no XX$"):
        read_places(path, FOLDER, check)
    assert checked == [Place("KEN"), Place("XX")]


def test_a_check_of_parameters_names_the_instance_too(tmp_path: Path) -> None:
    def check(place: Place) -> None:
        raise InvalidParameters("country is three capital letters")

    path = written(tmp_path / "a.json", {"filepath": "a.jpg", "country": "Kenya"})
    with pytest.raises(InvalidRequest, match=r"instance 1, a\.jpg: country is three"):
        read_places(path, FOLDER, check)


def test_a_photo_of_its_own_place_has_nothing_of_the_usual_one() -> None:
    places = Places(Place("USA", "CA"), {"a.jpg": Place("KEN"), "gone.jpg": NAIROBI})
    assert places.of("a.jpg") == Place("KEN")
    assert places.of("b.jpg") == Place("USA", "CA")
    assert places.unmet == ["gone.jpg"]
    assert places.has_coordinates
    assert not Places(Place("USA", "CA")).has_coordinates
    assert Places(NAIROBI).has_coordinates


def test_what_is_known_of_a_place() -> None:
    assert Place("KEN", latitude=0.0, longitude=0.0).known() == {
        "country": "KEN", "latitude": 0.0, "longitude": 0.0,
    }  # fmt: skip
    assert Place().known() == {}
