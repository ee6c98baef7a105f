"""How results read for people."""

from __future__ import annotations

import pytest

from sightline.operations import catalogue

SPECIES = {
    "name": "Panthera leo",
    "common_name": "lion",
    "score": 0.93,
    "release_label": "x;;;;;;lion",
    "level": "species",
    "taxonomy": {},
    "reason": "classifier",
}
FOUND = {"category": "1", "label": "animal", "conf": 0.8, "bbox": [0, 0, 1, 1]}
ORIGIN = dict.fromkeys(("country", "country_name", "admin1_region", "nearest_town", "nearest_town_km")) | {
    "country_source": "none",
    "admin1_source": "none",
}


@pytest.mark.parametrize(
    ("operation", "data", "words"),
    [
        ("detect_faces", {"faces": []}, "no face"),
        (
            "detect_faces",
            {"faces": [{"box": [0, 0, 1, 1], "score": 0.99, "label": "face"}] * 4},
            "4 faces (99%, 99%, 99%, …)",
        ),
        (
            "detect_objects",
            {
                "objects": [
                    {"box": [0, 0, 1, 1], "score": 0.9, "label": each} for each in ("dog", "dog", "cat")
                ]
            },
            "2 × dog (90%), cat (90%)",
        ),
        (
            "detect_objects",
            {"objects": [{"box": [0, 0, 1, 1], "score": 0.5, "label": each} for each in "abcdefg"]},
            "a (50%), b (50%), c (50%), d (50%), e (50%), and 2 more kinds",
        ),
        (
            "identify_species",
            {
                "filepath": "a.jpg",
                "classifications": {"classes": [], "scores": []},
                "detections": [FOUND],
                "prediction": "x;;;;;;lion",
                "prediction_score": 0.93,
                "prediction_source": "classifier",
                "model_version": "4",
            },
            "lion 93%, by classifier\nfound: animal (80%)",
        ),
        (
            "identify_species",
            {
                "filepath": "a.jpg",
                "detections": [
                    FOUND
                    | {
                        "raw_classifications": {"classes": [], "scores": []},
                        "processed_classification": {"class": "x;a;;;;;", "score": 0.7, "source": "s"},
                    },
                    FOUND,
                ],
                "model_version": "5",
            },
            "a (70%), animal (80%)",
        ),
        ("safe_search", {"score": 0.04, "range": "safe", "caveat": ""}, "safe (nudity 4%)"),
        ("read_text", {"text": "", "lines": []}, "no text"),
        (
            "identify_species",
            {
                "version": "v4",
                "detections": [
                    {
                        "box": [0, 0, 1, 1],
                        "label": "animal",
                        "confidence": 0.9,
                        "prediction": SPECIES,
                        "classifications": [],
                    }
                ]
                * 2,
                "prediction": SPECIES,
                "classifications": [],
                "origin": ORIGIN,
            },
            "lion (Panthera leo) 93%, by classifier\nfound: 2 × lion (93%)",
        ),
        ("ask", {"text": "A dog.", "model": "m"}, "A dog.\n(answered by m)"),
    ],
)
def test_a_result_reads_in_one_or_two_lines(operation: str, data: dict[str, object], words: str) -> None:
    found = catalogue()[operation]
    assert found.words(found.Result.model_validate(data)) == words
