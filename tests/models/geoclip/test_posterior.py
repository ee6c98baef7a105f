from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightline.capabilities.geolocation import Geolocation
from sightline.models.geoclip.posterior import (
    CLUSTER_RADIUS_KM,
    LEAST_MASS,
    MOST_CANDIDATES,
    Points,
    best_indices,
    radii_km,
)
from sightline.sphere import distances_km, unit_vectors

PARIS, LONDON, ROME, SYDNEY = (48.8566, 2.3522), (51.5074, -0.1278), (41.9028, 12.4964), (-33.87, 151.21)


def summary(shares: dict[tuple[float, float], float]) -> Geolocation:
    return Points(np.array(list(shares), float)).summarised(np.array(list(shares.values()), np.float32))


def test_one_certain_point() -> None:
    found = summary({PARIS: 1.0, SYDNEY: 0.0})
    assert (found.candidates[0].coordinate.latitude, found.candidates[0].coordinate.longitude) == PARIS
    assert found.candidates[0].probability == 1
    assert found.radius_50_km == found.radius_90_km == pytest.approx(0, abs=1e-3)
    (cluster,) = found.clusters
    assert cluster.mass == pytest.approx(1)
    assert cluster.centre.latitude == pytest.approx(PARIS[0])


def test_radii_reach_as_far_as_the_mass_does() -> None:
    found = summary({PARIS: 0.4, LONDON: 0.3, ROME: 0.25, SYDNEY: 0.05})
    assert found.radius_50_km == pytest.approx(343.6, abs=0.5)  # Paris to London
    assert found.radius_90_km == pytest.approx(1106, abs=2)  # Paris to Rome
    assert [round(cluster.mass, 2) for cluster in found.clusters] == [0.4, 0.3, 0.25, 0.05]


@pytest.mark.parametrize(
    ("points", "centre"),
    [
        pytest.param([(-17, 179.6), (-17, -179.6), (-16.6, 180)], (-16.87, 180), id="Fiji"),
        pytest.param([(89.5, 0), (89.5, 120), (89.5, -120)], (90, 0), id="north pole"),
        pytest.param([(-89.5, 45), (-89.5, 165), (-89.5, -75)], (-90, 0), id="south pole"),
        pytest.param([(0.5, 0.5), (-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5)], (0, 0), id="zero, zero"),
    ],
)
def test_neighbours_are_one_cluster_wherever_they_are(
    points: list[tuple[float, float]], centre: tuple[float, float]
) -> None:
    shares = dict.fromkeys(points, 0.9 / len(points)) | {SYDNEY: 0.1}
    found = summary(shares)
    assert [round(cluster.mass, 3) for cluster in found.clusters] == [0.9, 0.1]
    middle = found.clusters[0].centre
    away = distances_km(
        unit_vectors(np.array([[middle.latitude, middle.longitude]])), unit_vectors(np.array(centre))
    )
    assert away[0] < 15
    assert found.clusters[0].radius_km == pytest.approx(50, abs=30)


def test_many_small_shares_outweigh_one_larger() -> None:
    """A city of a hundred points is more probable than the single best point."""
    generator = np.random.default_rng(0)
    city = generator.normal(PARIS, 0.2, (100, 2))
    points = np.concatenate([[SYDNEY], city])
    masses = np.concatenate([[0.1], np.full(100, 0.009)])
    found = Points(points).summarised(masses)
    assert found.candidates[0].coordinate.latitude == SYDNEY[0]
    assert found.clusters[0].mass == pytest.approx(0.9)
    assert found.clusters[0].centre.latitude == pytest.approx(PARIS[0], abs=0.1)
    assert 10 < found.clusters[0].radius_km < 60
    assert found.radius_50_km > 15_000, "the best point is far from where the mass is, and the radius says so"


degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(degrees, st.floats(0, 1)), min_size=1, max_size=60).filter(
        lambda x: sum(m for _, m in x) > 0.1
    )
)
def test_what_always_holds(weighted: list[tuple[tuple[float, float], float]]) -> None:
    points = np.array([point for point, _ in weighted])
    masses = np.array([mass for _, mass in weighted])
    masses /= masses.sum()
    found = Points(points).summarised(masses)
    assert len(found.candidates) == min(len(points), MOST_CANDIDATES)
    probabilities = [candidate.probability for candidate in found.candidates]
    assert probabilities == sorted(masses.tolist(), reverse=True)[: len(probabilities)]
    assert 0 <= found.radius_50_km <= found.radius_90_km <= 20_016
    best = found.candidates[0].coordinate
    away = distances_km(unit_vectors(points), unit_vectors(np.array([best.latitude, best.longitude])))
    for radius_km, share in ((found.radius_50_km, 0.5), (found.radius_90_km, 0.9)):
        assert masses[away <= radius_km + 1e-3].sum() >= share - 1e-9
        assert masses[away < radius_km - 1e-3].sum() <= share + 1e-9
    assert sum(cluster.mass for cluster in found.clusters) <= 1 + 1e-9
    assert all(cluster.mass >= LEAST_MASS for cluster in found.clusters)
    assert all(cluster.radius_km <= CLUSTER_RADIUS_KM + 1e-3 for cluster in found.clusters)
    assert [c.mass for c in found.clusters] == sorted((c.mass for c in found.clusters), reverse=True)


@given(
    arrays(np.float64, st.integers(1, 50), elements=st.sampled_from([0.0, 0.1, 0.2, 0.5])), st.integers(1, 60)
)
def test_the_best_in_order_and_ties_as_they_stand(values: np.ndarray, count: int) -> None:
    wanted = sorted(range(len(values)), key=lambda index: (-values[index], index))[:count]
    assert best_indices(values, count).tolist() == wanted


def test_a_share_is_reached_at_the_point_that_completes_it() -> None:
    distances, masses = np.array([3.0, 1.0, 2.0]), np.array([0.5, 0.25, 0.25])
    assert radii_km(distances, masses, (0.25, 0.5, 0.51, 1.0)) == (1.0, 2.0, 3.0, 3.0)
