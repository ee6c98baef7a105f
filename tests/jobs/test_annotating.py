"""What is drawn over photos: by the shape of answers."""

from __future__ import annotations

import pytest

from sightline.jobs.annotating import marks_of


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"faces": [{"box": [1, 2, 3, 4], "label": "face", "score": 0.987}]}, ["face 99 %"]),
        ({"box": [1, 2, 3, 4], "label": "person", "score": 0.5}, ["person 50 %"]),
        (
            {"lines": [{"quad": [[0, 0], [9, 0], [9, 4], [0, 4]], "text": "EXIT", "score": 1.0}]},
            ["EXIT 100 %"],
        ),
        (
            {
                "detections": [
                    {
                        "box": [0, 0, 5, 5],
                        "label": "animal",
                        "prediction": {"common_name": "lion", "score": 0.9},
                    }
                ]
            },
            ["lion 90 %"],
        ),
        ({"vector": [1.0, 2.0]}, []),
        ({"text": "a dog"}, []),
        ({"box": "no box"}, []),
        ({"candidates": [{"lat": 1, "lon": 2}]}, []),
        (None, []),
    ],
)
def test_what_has_a_place_is_a_mark(data: object, names: list[str]) -> None:
    assert [mark.name for mark in marks_of(data)] == names


def test_corners_go_around_a_box_and_landmarks_come_along() -> None:
    (mark,) = marks_of({"box": [1, 2, 3, 4], "label": "face", "landmarks": [[1.5, 2.5]]})
    assert mark.corners == ((1, 2), (3, 2), (3, 4), (1, 4))
    assert mark.points == ((1.5, 2.5),)
