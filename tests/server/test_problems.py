from __future__ import annotations

from sightline.errors import InvalidImage
from sightline.server.problems import described_codes


def test_a_kind_of_error_without_a_code_of_its_own_is_told_by_its_parents() -> None:
    before = described_codes()

    class CutShort(InvalidImage):
        """Such as the ones that jobs raise, which are imported or not."""

    assert described_codes() == before
    assert before[CutShort.code]["meaning"] == "truncated, corrupt, or empty"
    assert before[CutShort.code]["status"] == 422
