"""Sightline: one engine that answers questions about a photo.

``from sightline import Analyzer, Task`` is the Python API, see docs/python.md. Importing this package alone
loads no runtimes and no image codecs.

The import turns off the usage statistics of the libraries that Sightline and its plug-ins load. It must come
before theirs: they send when they are imported or make their first session.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.api import Analyzer, AsyncAnalyzer, Outcome, Status, Task

__all__ = ["Analyzer", "AsyncAnalyzer", "Outcome", "Status", "Task", "__version__"]
__version__ = "0.1.0"

# Each is off unless the user has set the variable. Programs that this process starts inherit them.
_STATISTICS_OFF = {
    # ONNX Runtime's only complete switch (its Privacy.md): no device id on disk, no upload to Microsoft.
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub, which tokenizers brings along, and libraries that follow consoledonottrack.com.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
for _name, _value in _STATISTICS_OFF.items():
    os.environ.setdefault(_name, _value)

# OpenVINO has no such variable, and its opt-out is a file in the home folder. It uses its own stub where
# `import openvino_telemetry` fails; None here makes exactly that import fail.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def __getattr__(name: str) -> object:
    """Import the Python API when it is first used."""
    if name in __all__:
        from sightline import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
