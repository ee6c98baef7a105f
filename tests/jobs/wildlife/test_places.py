from __future__ import annotations

from sightline.jobs.wildlife.places import Place, Places

NAIROBI = Place(latitude=-1.286, longitude=36.817)


def test_a_photo_of_its_own_place_has_nothing_of_the_usual_one() -> None:
    places = Places(Place("USA", "CA"), {"a.jpg": Place("KEN"), "gone.jpg": NAIROBI})
    assert places.of("a.jpg") == Place("KEN")
    assert places.of("b.jpg") == Place("USA", "CA")
    assert places.has_coordinates
    assert not Places(Place("USA", "CA")).has_coordinates
    assert Places(NAIROBI).has_coordinates


def test_what_is_known_of_a_place() -> None:
    assert Place("KEN", latitude=0.0, longitude=0.0).known() == {
        "country": "KEN", "latitude": 0.0, "longitude": 0.0,
    }  # fmt: skip
    assert Place().known() == {}
