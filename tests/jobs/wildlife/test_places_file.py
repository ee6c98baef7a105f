from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightline.errors import InvalidParameters, InvalidRequest
from sightline.jobs.wildlife.photo_names import PhotoNames
from sightline.jobs.wildlife.places import Place
from sightline.jobs.wildlife.places_file import read_places

PHOTOS = ("cam1/a.jpg", "b.jpg", "nowhere.jpg", "cam 1/a, b.jpg", "c.jpg", "a.jpg", "bad.jpg")
NAIROBI = Place(latitude=-1.286, longitude=36.817)


def anything(place: Place) -> None:
    """Every place makes sense."""


def names(*photos: str) -> PhotoNames:
    return PhotoNames(Path("photos"), photos or PHOTOS)


def written(path: Path, *instances: object) -> Path:
    path.write_text(json.dumps({"instances": list(instances)}))
    return path


def test_instances_are_read_as_speciesnet_has_them(tmp_path: Path) -> None:
    path = written(
        tmp_path / "instances.json",
        {"filepath": "cam1/a.jpg", "country": "KEN"},
        {"filepath": "b.jpg", "country": "USA", "admin1_region": "CA", "latitude": 38.5, "longitude": -121},
        {"filepath": "nowhere.jpg", "country": None},
    )
    assert read_places(path, names(), anything).places == {
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
    assert read_places(path, names(), anything).places == {"cam 1/a, b.jpg": NAIROBI, "c.jpg": Place("TZA")}


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
        ("a.csv", "photo,country\na.jpg,KEN\n", "instance 1 must have a 'filepath'"),
        ("a.csv", "filepath,lat,latitude\na.jpg,1,2\n", "two different values for latitude"),
        ("a.csv", 'filepath,country\n"a.jpg,KEN\n', "columns"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=said) as raised:
        read_places(path, names(), anything)
    assert str(raised.value).startswith(name)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    for name in ("a.json", "a.csv"):
        (tmp_path / name).write_bytes(b"filepath,country\n\xff\xfe.jpg,KEN\n")
        with pytest.raises(InvalidRequest, match="UnicodeDecodeError"):
            read_places(tmp_path / name, names(), anything)


def test_each_place_is_checked_once_and_the_instance_is_named(tmp_path: Path) -> None:
    checked: list[Place] = []

    def check(place: Place) -> None:
        checked.append(place)
        if place.country == "XX":
            raise InvalidRequest("there is no XX")

    path = written(
        tmp_path / "a.json",
        *({"filepath": f"{letter}.jpg", "country": "KEN"} for letter in "abcab"),
        {"filepath": "bad.jpg", "country": "XX"},
    )
    with pytest.raises(InvalidRequest, match=r"^a.json: instance 6, bad.jpg: there is no XX$"):
        read_places(path, names(), check)
    assert checked == [Place("KEN"), Place("XX")]


def test_a_check_of_parameters_names_the_instance_too(tmp_path: Path) -> None:
    def check(place: Place) -> None:
        raise InvalidParameters("country is three capital letters")

    path = written(tmp_path / "a.json", {"filepath": "a.jpg", "country": "Kenya"})
    with pytest.raises(InvalidRequest, match=r"instance 1, a\.jpg: country is three"):
        read_places(path, names(), check)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "filepath,lat,lon\na.jpg,-1.286,36.817\n"),
        ("a.csv", "File; LAT ;Long\na.jpg;-1.286;36.817\n"),
        ("a.csv", "path\tlatitude\tlng\na.jpg\t-1.286\t36.817\n"),
        ("a.json", '{"instances": [{"file": "a.jpg", "lat": -1.286, "lon": 36.817}]}'),
    ],
)
def test_other_names_of_columns_and_other_separators_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = read_places(tmp_path / name, names(), anything)
    assert (found.places, found.problems) == ({"a.jpg": NAIROBI}, [])


def test_unknown_columns_are_problems_once_each(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("filepath,cuntry,latitude,longitude,note\na.jpg,NOR,,,x\nb.jpg,KEN,-1.286,36.817,y,z\n")
    found = read_places(path, names(), anything)
    assert found.places == {"b.jpg": NAIROBI}
    assert [problem.partition(";")[0] for problem in found.problems] == [
        "unknown column: cuntry", "unknown column: note", "unknown column: (without a name)",
    ]  # fmt: skip


def test_of_two_places_for_one_photo_neither_is_used(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        {"filepath": "a.jpg", "country": "NOR"},
        {"filepath": "b.jpg", "country": "NOR"},
        {"filepath": "./A.jpg", "country": "KEN"},
        {"filepath": "b.jpg", "country": "NOR"},
    )
    found = read_places(path, names(), anything)
    assert found.places == {"a.jpg": Place(), "b.jpg": Place("NOR")}
    (problem,) = found.problems
    assert problem.startswith("instances 1 and 3")


def test_paths_that_match_no_photo_or_several_are_problems(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        {"filepath": "gone.jpg", "country": "NOR"},
        {"filepath": "X.jpg", "country": "NOR"},
        {"filepath": "also gone.jpg"},
    )
    found = read_places(path, names("x.jpg", "x.JPG"), anything)
    assert found.places == {}
    first, second = found.problems
    assert first.startswith("instance 1")
    assert second.startswith("instance 2: X.jpg can be x.JPG, x.jpg")
