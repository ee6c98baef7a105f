"""How long it will take."""

from __future__ import annotations

from sightline.jobs.koop.run.progress import Pace


def test_the_end_is_reckoned_from_days_that_took_work() -> None:
    now_s = 100.0
    pace = Pace(10, now_s=lambda: now_s)
    assert pace.eta_s(0) is None
    pace.passed(worked=False)
    pace.passed(worked=False)
    assert pace.eta_s(0) is None
    now_s = 120.0
    pace.passed(worked=True)
    assert (pace.days, pace.elapsed_s) == (3, 20.0)
    assert pace.eta_s(0) == 7 * 20.0
    assert pace.eta_s(5) == 2 * 20.0
    assert pace.eta_s(50) == 0
