"""Sightline: one engine that answers questions about a photo.

Importing this package is cheap on purpose (no runtimes, no image codecs): start from
:mod:`sightline.runtime` to analyse pictures in a program, or from the ``sightline`` command.

The import turns off the usage statistics of the libraries that Sightline and its plug-ins load. It must come
before theirs: they send when they are imported or make their first session.
"""

import os
import sys

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
