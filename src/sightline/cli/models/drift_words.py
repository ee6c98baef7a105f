"""A measurement of drift as people and programs read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from sightline.cli.console import printable, stdout, table
from sightline.cli.models.choosing import is_random
from sightline.cli.progress import ImageWatch
from sightline.jobs.drift.comparing import RankFigures, TextFigures, VectorFigures
from sightline.jobs.drift.measuring import Measured, PhotoEnd
from sightline.runtime.precision import Choice
from sightline.settings import Precision
from sightline.weights.drift import FindFigures, Limits, Spread
from sightline.weights.store import Installed

_SERVED = "SIGHTLINE_PRECISION=f32 serves every such model in f32"


class Watch(ImageWatch):
    """Shows photos as they are compared, and keeps those that were not."""

    def __init__(self) -> None:
        super().__init__("loading")
        self.failures: list[PhotoEnd] = []

    def begin(self, photos: int) -> None:
        self.show_total(photos, "comparing")

    def __call__(self, end: PhotoEnd) -> None:
        self.advance("comparing")
        if end.error is not None:
            self.failures.append(end)
            self.tell(f"{end.source}: {end.error}", "red")


@dataclass
class Told:
    """What is said of one measurement. ``choice``: how the model is served from its next load on."""

    installed: Installed
    precision: Precision
    measured: Measured
    limits: Limits
    min_score: float
    choice: Choice
    kept: bool = False

    def show(self, failures: list[PhotoEnd], *, as_json: bool) -> None:
        if as_json:
            stdout().print_json(json.dumps(self._fields(failures)))
            return
        half, measured = self.precision.value, self.measured
        title = f"{self.installed.model}, fingerprint {self.installed.fingerprint}"
        stdout().print(Text(title, style="bold"), soft_wrap=True)
        if is_random(self.installed):
            stdout().print(
                Text("Its weights are random: this says nothing about published ones.", style="yellow")
            )
        photos = measured.figures.photos
        shown = table((f"Of {photos:,} photo{'' if photos == 1 else 's'}", f"f32 against {half}"))
        for label, value in self._rows():
            shown.add_row(label, Text(printable(value)))
        ratio = measured.f32_s / measured.half_s if measured.half_s else float("inf")
        speed = f"f32 {measured.f32_s:.3g}, {half} {measured.half_s:.3g}: {ratio:.2f} × as fast"
        shown.add_row("seconds per photo", speed)
        stdout().print(shown)
        for line in self._verdict():
            stdout().print(line, soft_wrap=True)

    def _rows(self) -> Iterator[tuple[str, str]]:
        figures, half = self.measured.figures, self.precision.value
        match figures:
            case FindFigures():
                crossed = (
                    f", {figures.crossed:,} of them of that score in one only" if figures.crossed else ""
                )
                yield f"finds of {self.min_score:g} or surer", f"{figures.both:,} in both{crossed}"
                yield "", f"{figures.only_f32:,} in f32 only, {figures.only_half:,} in {half} only"
                yield "boxes moved, pixels", _spread(figures.corners_px)
                yield "scores moved", _spread(figures.scores)
            case VectorFigures():
                least, middle = figures.cosine_least, figures.cosine_median
                yield "cosine", f"median {middle:.6f}, least {least:.6f}"
            case RankFigures():
                share = figures.same_first / figures.photos
                yield "same first class", f"{figures.same_first:,} photos, {share:.1%}"
                yield "scores moved", _spread(figures.scores)
            case TextFigures():
                yield "equal texts", f"{figures.same:,} photos, {figures.same / figures.photos:.1%}"
                for f32, other in figures.examples:
                    yield "differs", f"f32: {f32}\n{half}: {other}"

    def _verdict(self) -> Iterator[Text]:
        verdict = self.measured.verdict
        if verdict.within is None:
            yield Text("There are no limits for this. ", style="bold").append(f"Judge by reading; {_SERVED}.")
        elif verdict.within:
            yield Text("Within the limits. ", style="bold green").append(self._next())
        else:
            beyond = "; ".join(verdict.beyond)
            yield Text("Not within the limits: ", style="bold red").append(f"{beyond}. {self._next()}")

    def _next(self) -> str:
        """What can be done now."""
        half, name = self.precision.value, self.installed.model
        if not isinstance(self.measured.figures, FindFigures):
            if self.measured.verdict.within:
                return f"Nothing is to be done: auto, which is {half} here, is the default."
            return f"{_SERVED}."
        served = self.choice.precision
        if self.kept:
            return f"Kept. From its next load on {name} computes in {served.value}: {self.choice.why}."
        if self.choice.measured and not self.measured.verdict.within:
            why = f"{self.choice.why}. A kept result beyond the limits ends that."
            return f"It is served in {served.value} all the same: {why}"
        if served is not Precision.F32:
            return f"It is served in {served.value}: {self.choice.why}."
        if self.measured.verdict.within:
            return f"With --keep, {name} is served in {half} from then on."
        return "Leave it in f32, the default, or say with --max-pixels and --max-score what you can accept."

    def _fields(self, failures: list[PhotoEnd]) -> dict[str, Any]:
        measured = self.measured
        return {
            **_about(self.installed, self.precision),
            "limits": asdict(self.limits),
            "min_score": self.min_score if isinstance(measured.figures, FindFigures) else None,
            "figures": asdict(measured.figures),
            "seconds_per_photo": {"f32": measured.f32_s, self.precision.value: measured.half_s},
            "within_limits": measured.verdict.within,
            "beyond": list(measured.verdict.beyond),
            "failures": [asdict(failure) for failure in failures],
            "kept": self.kept,
            "served_in": self.choice.precision.value if isinstance(measured.figures, FindFigures) else None,
        }


def say_alike(installed: Installed, *, in_openvino: bool, as_json: bool) -> None:
    """What ``auto`` means is f32 here: there is nothing to compare, and nothing wrong."""
    if as_json:
        stdout().print_json(json.dumps(_about(installed, Precision.F32)))
        return
    why = (
        "auto is f32 on this machine. Processors with AVX512_BF16 or AMX compute in bf16"
        if in_openvino
        else "ONNX Runtime computes as the file says, whatever the precision"
    )
    text = f"Nothing to measure: {installed.model} computes in f32 either way, for {why}."
    stdout().print(Text(text), soft_wrap=True)


def _about(installed: Installed, precision: Precision) -> dict[str, Any]:
    return {
        "model": installed.model,
        "fingerprint": installed.fingerprint,
        "provenance": installed.provenance.value,
        "precision": precision.value,
    }


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    middle, most, greatest = spread.median, spread.percentile_95, spread.greatest
    return f"median {middle:.3g}, 95 of 100 at most {most:.3g}, greatest {greatest:.3g}"
