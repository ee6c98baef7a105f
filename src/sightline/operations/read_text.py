"""The text in a picture, line by line."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sightline.capabilities.text import TEXT_LINES, TextLine
from sightline.operations import Answer, Models, Operation, RegionParams, Result, Scene, TimingGroup
from sightline.types import Region, Target

# What the reference drops by default.
DEFAULT_MIN_SCORE = 0.5
# In words for people.
_SHOWN_LINES = 8


class ReadTextParams(RegionParams):
    """Parameters of ``read_text``."""

    min_score: float = Field(
        DEFAULT_MIN_SCORE, ge=0, le=1, description="Leave out lines with a lower score, 0 to 1."
    )
    max_lines: int = Field(200, ge=1, le=400, description="Most lines, in reading order.")


class Line(Result):
    """One line of text."""

    text: str
    score: float = Field(description="Mean probability of the characters, 0 to 1.")
    quad: list[tuple[float, float]] = Field(
        description="Four corners (x, y) in pixels of the upright picture, clockwise from the top left of "
        "the text.",
        min_length=4,
        max_length=4,
    )


class ReadText(Result):
    """The text that was read, perhaps none."""

    text: str = Field(description="All lines in reading order, separated by line breaks.")
    lines: list[Line]


class ReadTextOperation(Operation[ReadTextParams, ReadText]):
    """Reads printed text. Handwriting and very small text are often missed."""

    name = "read_text"
    description = "Reads the text in the image, person or face, line by line, with the place of each line."
    needs = (TEXT_LINES,)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = ReadTextParams
    Result = ReadText
    example = {"min_score": 0.8}
    purposes = ("text", "ocr")
    timing_group = TimingGroup.DETECTION

    async def run(self, scene: Scene, params: ReadTextParams, models: Models) -> Answer[ReadText]:
        models.find(TEXT_LINES)  # a missing model is reported before a face is looked for
        region = await scene.region(params.target, params.face_context)
        inference = await scene.infer(TEXT_LINES, scene.view(region))
        found = inference.output
        kept = [_line(line, region) for line in found.lines if line.score >= params.min_score]
        lines = kept[: params.max_lines]
        unread = found.unread + len(kept) - len(lines)
        warnings = (f"{unread} more lines are not in the answer: the photo has too many",) if unread else ()
        text = "\n".join(line.text for line in lines)
        return Answer(ReadText(text=text, lines=lines), inference.model, region, warnings)

    def words(self, result: ReadText) -> str:
        shown = [line.text for line in result.lines[:_SHOWN_LINES]]
        more = len(result.lines) - len(shown)
        return "\n".join(shown + ([f"… and {more} more lines"] if more else [])) or "no text"

    def plain(self, result: ReadText) -> Any:
        return result.text


def _line(line: TextLine, region: Region) -> Line:
    """Corners are moved from the region to the picture."""
    x, y = (region.box.x_min, region.box.y_min) if region.box else (0, 0)
    return Line(
        text=line.text,
        score=round(line.score, 5),
        quad=[(round(px + x, 2), round(py + y, 2)) for px, py in line.quad],
    )


OPERATIONS = (ReadTextOperation(),)
