"""Types of settings: enumerations, and lists as they are written in the environment."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import SecretStr
from pydantic.functional_validators import BeforeValidator
from pydantic_settings import NoDecode


class Precision(StrEnum):
    """Arithmetic inside a graph. ``AUTO`` is bf16 where the processor computes in it, else f32."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


class DetectorPrecision(StrEnum):
    """``MEASURED`` is f32 unless a kept measurement of the installed weights allows what ``AUTO`` means."""

    MEASURED = "measured"
    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


class ImageEmbedModels(StrEnum):
    """Which models answer on the image-embed service's routes where a task names none."""

    CONTRACT = "contract"
    SMALL = "small"


class GraphRuntime(StrEnum):
    """Which library runs ONNX graphs. ``AUTO`` is OpenVINO on CPUs and ONNX Runtime on anything else."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


def _split(value: object) -> object:
    """``"a, b"`` → ``("a", "b")``: lists in the environment are comma-separated."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
Ports = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]

# Of ``allowed_origins``: what is safe where the server listens.
AUTO = ("auto",)
MIB = 1024 * 1024
