"""Runs an exporter in an environment that exists only for it.

``uv`` makes the environment from the locked requirements of the exporter's family, so torch and its kin never
enter ours and the pins of two families never meet. What was downloaded for it stays in uv's cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from sightline.errors import ExportFailed

Log = Callable[[str], None]

_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Seconds of silence after which the hub counts as unreachable.
    "HF_HUB_ETAG_TIMEOUT": "5",
    "HF_HUB_DOWNLOAD_TIMEOUT": "20",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_FAMILY = re.compile(r"[a-z][a-z0-9_]*")
_PATH = re.compile(r"(?<![\w:/.])(?:/[^\s:'\"`]+|[A-Za-z]:\\[^\s'\"`]+)")
_BLAME = re.compile(r"error: |[\w.]*(Error|Exception|Interrupt)\b")
_REASON = re.compile(r"(cause|Caused by|hint): ")


def run_exporter(
    family: str,
    *,
    model: str,
    weights: Literal["canonical", "random"],
    seed: int,
    size: Literal["full", "tiny"],
    output: Path,
    offline: bool,
    log: Log,
    hub_endpoint: str | None = None,
    hub_token: str | None = None,
    source: Path | None = None,
    trusted_sha256: str | None = None,
) -> None:
    """Write the artifacts of ``model`` into the folder ``output``; minutes, and gigabytes the first time.

    ``log`` gets every line that uv and the exporter print, as it comes. Offline, the environment must be in
    uv's cache and canonical weights in the hub client's. Random weights never ask the hub.

    ``source`` and ``trusted_sha256`` are what ``sightline.export.Order`` says of them; not every family takes
    them.

    Raises:
        ExportFailed: no such family, no environment, or the exporter failed; the message is its last word.
    """
    with (
        resources.as_file(resources.files("sightline")) as package,
        tempfile.TemporaryDirectory(prefix="sightline-export-") as scratch,
    ):
        requirements = package / "export" / "requirements" / f"{family}.txt"
        if not _FAMILY.fullmatch(family) or not requirements.is_file():
            raise ExportFailed(f"There is no exporter {family!r}.")
        # Alone in its folder: beside an installed Sightline lie all of its dependencies, which would take
        # precedence over the exporter's own.
        shutil.copytree(package, Path(scratch) / "sightline", ignore=shutil.ignore_patterns("__pycache__"))
        exporter = [
            *("python", "-m", "sightline.export", family, "--model", model, "--weights", weights),
            *("--seed", str(seed), "--size", size, "--out", str(output.absolute())),
        ]
        if source is not None:
            exporter += ["--from", str(source.expanduser().absolute())]
        if trusted_sha256 is not None:
            exporter += ["--trust", trusted_sha256]
        environment = _ENVIRONMENT | {"PYTHONPATH": scratch}
        if offline or weights == "random":
            environment["HF_HUB_OFFLINE"] = "1"
        if hub_endpoint:
            environment["HF_ENDPOINT"] = hub_endpoint
        if hub_token:
            environment["HF_TOKEN"] = hub_token
        _run([*_uv(requirements, offline), *exporter], Path(scratch), environment, log)


def _uv(requirements: Path, offline: bool) -> list[str]:
    from uv import find_uv_bin

    try:
        uv = find_uv_bin()
    except FileNotFoundError:
        raise ExportFailed("Exporting needs uv, which is not installed.") from None
    return [
        *(uv, "run", "--isolated", "--no-project", "--no-python-downloads", "--python", sys.executable),
        *(["--offline"] if offline else []),
        *("--with-requirements", str(requirements)),
    ]


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], log: Log) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ
        | environment,  # handed on unread: proxies, certificates, uv's and the hub's own settings
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            for line in _lines(process):
                log(line)
                lines = [*lines[-99:], line]
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise ExportFailed(f"The exporter failed: {_last_word(lines, process.returncode)}")


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    if process.stdout is not None:
        for line in process.stdout:
            if line.strip():
                yield line.rstrip()


def _last_word(lines: Sequence[str], status: int) -> str:
    """The line that says what went wrong, without paths of this machine."""
    if status < 0 or status > 128:  # uv answers 128 + signal for its child
        number = -status if status < 0 else status - 128
        return f"it was stopped by signal {number}" + (", as when memory runs out" if number == 9 else "")
    tidy = [line.strip(" ×╰─▶│├") for line in lines] or [f"status {status}"]
    blamed = next((line for line in reversed(tidy) if _BLAME.match(line)), tidy[-1])
    word = blamed.removeprefix("error: ")
    if reason := _REASON.match(tidy[-1]):  # uv says first what failed, and last why
        word = f"{word}: {tidy[-1][reason.end() :]}"
    return _PATH.sub("…", word)[:300]
