"""What beams remember: each its own line, whatever branched off."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.models.blip.past import Past

PARTS, HEADS, WIDTH = 2, 3, 4


@given(
    seed=st.integers(0, 2**32 - 1),
    pictures=st.integers(1, 3),
    beams=st.integers(1, 4),
    steps=st.integers(1, 40),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_visible_slots_are_the_line(
    seed: int, pictures: int, beams: int, steps: int, data: st.DataObject
) -> None:
    generator = np.random.default_rng(seed)
    past = Past(PARTS, pictures, HEADS, beams, WIDTH)
    lines = [[[] for _ in range(beams)] for _ in range(pictures)]
    leaves = data.draw(st.integers(0, steps))
    for step in range(steps):
        if step == leaves and pictures > 1:
            past.keep(np.arange(1, pictures))
            lines = lines[1:]
        states = generator.normal(size=(PARTS, len(lines), HEADS, beams, WIDTH)).astype(np.float32)
        parents = generator.integers(0, beams, (len(lines), beams))
        past.add(states, parents)
        lines = [
            [[*lines[at][parent], states[:, at, :, parent]] for parent in parents[at]]
            for at in range(len(lines))
        ]
    assert past.steps == steps
    assert past.states.flags.c_contiguous
    assert past.states.shape[3] >= steps * beams
    for at, line_of in enumerate(lines):
        for beam, line in enumerate(line_of):
            visible = np.flatnonzero(past.hidden[at, beam] == 0)
            assert np.all(past.hidden[at, beam][past.hidden[at, beam] != 0] < -1000)
            # Slots lie in the order of steps, so the visible ones are the line from its first token on.
            np.testing.assert_array_equal(past.states[:, at][:, :, visible], np.stack(line, 2))


def test_it_doubles_seldom() -> None:
    past = Past(PARTS, 1, HEADS, 2, WIDTH)
    states = np.ones((PARTS, 1, HEADS, 2, WIDTH), np.float32)
    sizes = set()
    for _ in range(511):
        past.add(states, np.zeros((1, 2), np.int64))
        sizes.add(past.states.shape[3])
    assert len(sizes) == 6
