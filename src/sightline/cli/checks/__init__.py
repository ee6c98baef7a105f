"""What ``sightline doctor`` looks at, one module per matter. Checks look and never change anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """``NOTICE`` works and may surprise; ``BROKEN`` does not work until it is fixed."""

    OK = "ok"
    NOTICE = "notice"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``fix`` is a command or an instruction, where something can be done.

    A ``detail`` is summed up by another finding: JSON has it, the page for people leaves it out.
    """

    area: str
    subject: str
    state: State
    text: str
    fix: str | None = None
    detail: bool = False
