"""``make bench``: prints tables and writes ``bench/results/latest.json``.

Every ratio compares two things measured in this run on this machine with the load client beside them.
``python -m bench embed`` runs one part.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

from bench import (
    classify,
    collections,
    embed,
    geoclip,
    isolation,
    koop,
    library,
    overload,
    scene,
    text,
    wildlife,
)
from sightline.runtime.cores import usable_cores
from sightline.runtime.graphs import cpu_computes_bf16

PARTS = {
    "embed": embed,
    "scene": scene,
    "geoclip": geoclip,
    "classify": classify,
    "collections": collections,
    "koop": koop,
    "wildlife": wildlife,
    "text": text,
    "isolation": isolation,
    "library": library,
    "overload": overload,
}
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    results: dict[str, Any] = {"machine": machine()}
    for name in names or PARTS:
        print(f"-- {name}: {PARTS[name].__doc__}", flush=True)
        results[name] = PARTS[name].run()
        PARTS[name].show(results[name])
        for what, ratio in results[name].get("ratios", {}).items():
            print(f"ratio  {what:42} {ratio:6.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "computes_bf16": cpu_computes_bf16(),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
