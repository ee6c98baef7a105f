"""A measurement as the record that lets a detector be served in half precision, or keeps it from that."""

from __future__ import annotations

from sightline import __version__
from sightline.errors import InvalidRequest
from sightline.jobs.drift.measuring import Measured
from sightline.settings import Precision
from sightline.weights.drift import DriftRecord, FindFigures, Limits, digests_of
from sightline.weights.manifest import now
from sightline.weights.wanted import Installed

# Of fewer, one bad find is more than the 5 of 100 that may move.
LEAST_PHOTOS = 20
LEAST_FINDS = 20


def record_of(
    measured: Measured,
    installed: Installed,
    precision: Precision,
    *,
    arithmetic: str,
    min_score: float,
    limits: Limits,
) -> DriftRecord:
    """What to keep beside ``installed``. ``arithmetic`` is that of ``runtime.graphs.Graphs``.

    Raises:
        InvalidRequest: it is about finds of no detector, or of too few photos or finds to decide anything.
    """
    figures = measured.figures
    if not isinstance(figures, FindFigures):
        raise InvalidRequest(
            f"{installed.model} is no detector; only of those a measurement decides anything"
        )
    if figures.photos < LEAST_PHOTOS or figures.finds < LEAST_FINDS:
        raise InvalidRequest(
            f"too little to decide anything, so nothing was kept: {figures.photos} photos with "
            f"{figures.finds} finds of {min_score:g} or surer; {LEAST_PHOTOS} with {LEAST_FINDS} are needed"
        )
    return DriftRecord(
        format=1,
        model=installed.model,
        fingerprint=installed.fingerprint,
        digests=digests_of(installed.manifest),
        precision=precision,
        arithmetic=arithmetic,
        min_score=min_score,
        limits=limits,
        figures=figures,
        within_limits=bool(measured.verdict.within),
        f32_s=measured.f32_s,
        half_s=measured.half_s,
        measured_at=now(),
        version=__version__,
    )
