from __future__ import annotations

import numpy as np

from sightline.capabilities import held_bytes
from sightline.capabilities.caption import CaptionRequest
from sightline.capabilities.question import Question
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.types import Coordinate, PixelBox


def view(box: PixelBox | None = None) -> View:
    pixels = np.zeros((40, 60, 3), np.uint8)
    return View(open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4)), box)


def test_a_part_holds_all_that_is_decoded_of_the_picture() -> None:
    part = view(PixelBox(1, 1, 2, 2))
    assert held_bytes(part) == part.picture.facts.num_bytes
    part.pixels()
    assert held_bytes(part) == 40 * 60 * 3


def test_a_text_holds_its_length() -> None:
    assert held_bytes("four") == 4


def test_a_caption_holds_what_its_view_holds() -> None:
    request = CaptionRequest(view())
    assert held_bytes(request) == held_bytes(request.view) > 0


def test_a_coordinate_holds_next_to_nothing() -> None:
    assert held_bytes(Coordinate(1.0, 2.0)) == 16


def test_the_same_question_is_asked_once() -> None:
    """Scenes remember by subject."""
    seen = view()
    same, longer = CaptionRequest(seen, 20), CaptionRequest(seen, 30)
    assert {CaptionRequest(View(seen.picture), 20): 1}[same] == 1
    assert same != longer
    assert same != CaptionRequest(view(), 20)
    assert same != CaptionRequest(seen, 20, num_beams=1)


def test_a_question_holds_its_words_and_its_pictures() -> None:
    seen = view()
    assert held_bytes(Question("four")) == 4
    assert held_bytes(Question("four", schema_json="{}")) == 6
    assert held_bytes(Question("four", (seen, seen))) == 4 + 2 * held_bytes(seen)
    assert Question("four", (seen,)) == Question("four", (View(seen.picture),))
