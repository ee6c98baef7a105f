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
            "2 dogs (90%, 90%); 1 cat (90%)",
        ),
        ("safe_search", {"score": 0.04, "range": "safe", "caveat": ""}, "safe, 4%"),
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
            "lion (Panthera leo) 93%, by classifier\nfound: 2 lion",
        ),
        ("ask", {"text": "A dog.", "model": "m"}, "A dog.\n(answered by m)"),
    ],
)
def test_a_result_reads_in_one_or_two_lines(operation: str, data: dict[str, object], words: str) -> None:
    found = catalogue()[operation]
    assert found.words(found.Result.model_validate(data)) == words
