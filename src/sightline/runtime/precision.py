"""In which precision a detector is served, and why: what was measured on its weights may decide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sightline.capabilities.detection import ANIMAL_BOXES, OBJECT_BOXES, PERSON_BOXES
from sightline.models import AS_SET, Graph, GraphLoader, GraphOptions, ModelCard
from sightline.models.generation import GenerationLimits, TextGenerator
from sightline.runtime.graphs import Graphs
from sightline.settings import DetectorPrecision, Precision, Settings
from sightline.weights.drift import read_record
from sightline.weights.wanted import Installed

# Those that the setting speaks of. Detectors of faces compute in f32 whatever it says.
DETECTED = frozenset({PERSON_BOXES, OBJECT_BOXES, ANIMAL_BOXES})


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision and why it was chosen. ``complaint``: the reason, where somebody should hear of it.

    ``measured``: a measurement allows it, against the settings' own f32.
    """

    precision: Precision
    why: str
    complaint: str | None = None
    measured: bool = False


def obeys_choice(card: ModelCard) -> bool:
    """Whether :func:`choose` is about this model."""
    return bool(card.artifacts and DETECTED & card.capabilities)


def choose(settings: Settings, installed: Installed) -> Choice:
    """The precision of a detector with these weights; looks at the disk only where the setting says so."""
    graphs, setting = Graphs(settings), settings.detector_precision
    if graphs.computes_in(GraphOptions(Precision.BF16)) is Precision.F32:
        return Choice(Precision.F32, "ONNX Runtime computes as the file says")
    if setting is DetectorPrecision.MEASURED and settings.precision is Precision.F32:
        return Choice(Precision.F32, "SIGHTLINE_PRECISION=f32")
    if setting is not DetectorPrecision.MEASURED:
        asked = graphs.computes_in(GraphOptions(detects=True)) or Precision(setting.value)
        return Choice(asked, f"SIGHTLINE_DETECTOR_PRECISION={setting.value}")
    try:
        record = read_record(installed)
    except ValueError as error:
        complaint = f"{error}; measure again with {_command(installed)}"
        return Choice(Precision.F32, complaint, complaint)
    if record is None:
        return Choice(Precision.F32, f"its drift was not measured, see {_command(installed)}")
    if record.arithmetic != graphs.arithmetic:
        complaint = f"its drift was measured in {record.arithmetic}; measure again with {_command(installed)}"
        return Choice(Precision.F32, complaint, complaint)
    half, day = record.precision.value, record.measured_at[:10]
    measured = f"its drift in {half} was measured on {day} with {record.figures.photos} photos"
    if not record.within_limits:
        return Choice(Precision.F32, f"{measured} and is beyond the limits")
    if record.precision is Precision.F32 or record.precision is not half_of(settings):
        return Choice(Precision.F32, f"{measured}, and this machine does not compute in {half} by itself")
    return Choice(record.precision, f"{measured} and is within the limits", measured=True)


def half_of(settings: Settings) -> Precision | None:
    """Return the meaning of ``auto`` on the device of the settings; f32 if it computes in nothing less.

    None where the device does not say.
    """
    return Graphs(settings).computes_in(GraphOptions(Precision.AUTO))


def allow(graphs: GraphLoader, choice: Choice) -> GraphLoader:
    """``graphs``, with what a measurement allows for graphs that detect."""
    return _Allowing(graphs, choice.precision) if choice.measured else graphs


@dataclass(frozen=True, slots=True)
class _Allowing:
    """Opens graphs that detect in ``allowed``, unless the model asks for a precision of its own."""

    graphs: GraphLoader
    allowed: Precision

    @property
    def threads(self) -> int:
        return self.graphs.threads

    def __call__(self, path: Path, options: GraphOptions = AS_SET) -> Graph:
        if options.detects and options.precision is None:
            options = replace(options, precision=self.allowed)
        return self.graphs(path, options)

    def generator(self, name: str, folder: Path, limits: GenerationLimits) -> TextGenerator:
        return self.graphs.generator(name, folder, limits)


def _command(installed: Installed) -> str:
    return f"`sightline models drift {installed.model} PHOTOS --keep`"
