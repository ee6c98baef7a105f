"""What was learned of each host, kept between runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from sightline.jobs.koop.polite import Learned
from sightline.jobs.koop.store.state import State

_LEARNED = "learned_rates"


def learned_rates(state: State) -> Mapping[str, Learned]:
    """What earlier runs learned of each host."""
    return {origin: Learned(**each) for origin, each in (state.get(_LEARNED) or {}).items()}


def remember_rates(state: State, learned: Mapping[str, Learned]) -> None:
    """For the next run. What is known of other hosts stays."""
    if learned:
        fields = {origin: asdict(each) for origin, each in learned.items()}
        state.put(_LEARNED, {**(state.get(_LEARNED) or {}), **fields})
