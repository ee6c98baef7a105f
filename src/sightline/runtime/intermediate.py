"""ONNX files in OpenVINO's own format, kept on disk: a second start reads them in a tenth of the time.

For a graph that computes in half precision the weights are stored in half precision too. OpenVINO otherwise
keeps the f32 originals in memory beside the bf16 copies it computes with: for CLIP ViT-B/32 that is 340 MiB
of 810. Float16 keeps three more bits of each weight than the bf16 arithmetic reads.

A copy is a folder::

    <cache>/<path of the file>-<digest of the file, version of OpenVINO, precision>/
        graph.xml, graph.bin     the graph and its weights
        digests.json             sha256 of both

It appears complete, by one rename, and is read only if both digests are right. It holds what the file holds,
not machine code, so the processor is not part of its name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.weights.folders import sync
from sightline.weights.manifest import recorded_sha256, sha256_of

if TYPE_CHECKING:
    import openvino

_log = logging.getLogger(__name__)

_GRAPH, _WEIGHTS, _DIGESTS = "graph.xml", "graph.bin", "digests.json"


def folder(models_dir: Path) -> Path:
    """Where copies lie in a folder of models. The store resolves links and ``~`` in the same way."""
    return models_dir.expanduser().absolute() / ".compiled"


def read(core: openvino.Core, path: Path, cache_dir: Path | None, *, half: bool) -> openvino.Model:
    """The graph of an ONNX file, through its copy in ``cache_dir``. A missing or damaged copy is made anew.

    The file's digest is that of the manifest beside it, which the store has compared when the model was
    loaded; a file without one is read for it. Copies of what the file was before are removed.
    """
    if cache_dir is None:
        return core.read_model(path)
    sha256 = recorded_sha256(path) or sha256_of(path)
    copy = cache_dir / f"{_place(path)}-{_state(sha256, core, half)}"
    kept = _read_copy(core, copy, path)
    if kept is not None:
        return kept
    model = core.read_model(path)
    try:
        if sha256_of(path) != sha256:
            raise OSError("the file is not what was installed")
        cache_dir.mkdir(parents=True, exist_ok=True)
        _write(model, copy, half=half)
    except (OSError, RuntimeError) as error:  # a read-only folder, a full disk: slower starts, no more
        _log.warning("no copy of %s could be kept (%s); every start will convert it", path.name, error)
        return model
    _remove_older(copy, prefix=f"{_place(path)}-")
    return _read_copy(core, copy, path) or model


def damaged(cache_dir: Path, files: Iterable[Path]) -> list[Path]:
    """Return the ``files`` with a damaged copy in ``cache_dir``. Read all their copies, change none."""
    return [
        path
        for path in files
        if not all(_is_intact(copy) for copy in cache_dir.glob(f"{_place(path)}-*") if copy.is_dir())
    ]


def _read_copy(core: openvino.Core, copy: Path, path: Path) -> openvino.Model | None:
    """The graph of a copy; None if there is none, or none any more because it was damaged."""
    if not os.path.lexists(copy):
        return None
    if _is_intact(copy):
        try:
            return core.read_model(copy / _GRAPH, copy / _WEIGHTS)
        except RuntimeError:
            pass
    _log.warning("the compiled copy of %s is damaged; it is made anew", path.name)
    _remove(copy)
    return None


def _is_intact(copy: Path) -> bool:
    try:
        digests = json.loads((copy / _DIGESTS).read_bytes())
        return all(sha256_of(copy / name) == digests[name] for name in (_GRAPH, _WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(model: openvino.Model, copy: Path, *, half: bool) -> None:
    """Write the copy to the disk and let it appear at once. Another process may have been faster."""
    import openvino

    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".writing-") as folder:
        draft = Path(folder) / "copy"
        draft.mkdir()
        openvino.save_model(model, draft / _GRAPH, compress_to_fp16=half)
        digests = {name: sha256_of(draft / name) for name in (_GRAPH, _WEIGHTS)}
        (draft / _DIGESTS).write_text(json.dumps(digests), encoding="ascii")
        for written in (*draft.iterdir(), draft):
            sync(written)
        try:
            draft.rename(copy)
        except OSError:
            if not copy.is_dir():
                raise
        sync(copy.parent)


def _remove_older(copy: Path, prefix: str) -> None:
    for other in copy.parent.glob(f"{prefix}*"):
        if other != copy:
            _remove(other)


def _remove(copy: Path) -> None:
    """Take a copy away, whatever lies there. Where that cannot be, it is left and not read."""
    with suppress(OSError), tempfile.TemporaryDirectory(dir=copy.parent, prefix=".removing-") as folder:
        copy.rename(Path(folder) / "copy")
    if copy.is_dir() and not copy.is_symlink():
        shutil.rmtree(copy, ignore_errors=True)


def _place(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def _state(sha256: str, core: openvino.Core, half: bool) -> str:
    version = core.get_versions("CPU")["CPU"].build_number
    state = f"{sha256} {version} {'f16' if half else 'f32'}"
    return hashlib.sha256(state.encode()).hexdigest()[:16]
