"""A training that is killed for real, at each of its steps: what served before serves on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.collections import Collection
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.training import train

# Says each step and waits to be told to go on, which it never is at the last one.
TRAINER = """
import sys
from pathlib import Path
import numpy as np
from sightline.collections import Collections, Space
from sightline.jobs.collections.examples import examples
from sightline.jobs.collections.training import train

def report(step):
    print(step, flush=True)
    sys.stdin.readline()

data = np.load(sys.argv[2])
found = examples(data["vectors"], data["labels"], [Space("clip-vit-b-32", "0123456789abcdef")])
train(Collections(Path(sys.argv[1])).collection(7), found, report=report)
"""


@pytest.mark.parametrize(("step", "versions"), [("fitting", 1), ("measuring", 1), ("comparing", 2)])
def test_killed_at_a_step(
    collection: Collection, made: Callable[..., Examples], tmp_path: Path, step: str, versions: int
) -> None:
    serving = train(collection, made(1.0)).serving.record.version
    better = made(9.0, seed=1)
    np.savez(tmp_path / "data.npz", vectors=better.vectors, labels=better.labels)
    arguments = [sys.executable, "-c", TRAINER, str(collection.root), str(tmp_path / "data.npz")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for said in process.stdout:
            if said.startswith(step):
                break
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
    assert collection.serving().record.version == serving
    assert len(collection.versions()) == versions
    # The dead one's lock is gone with it, and the next training goes through.
    after = train(collection, better)
    assert after.serving.record.version in collection.versions()
    assert len(after.ranking) == versions + 1
