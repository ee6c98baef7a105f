"""Original weights from the Hugging Face hub, or from its client's cache."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from sightline.errors import ExportFailed, SourceMissing, SourceUnreachable

_log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_CONFIG_FILE = "config.json"
_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


def load(kind: Any, repo: str, revision: str) -> Any:
    """The model of a class of the transformers library, f32, in evaluation mode.

    Raises:
        SourceUnreachable, SourceMissing: see :func:`fetch`.
        ExportFailed: the checkpoint lacks some of the model's weights. The library would make them up.
    """
    folder = _fetch_checkpoint(repo, revision)
    model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise ExportFailed(f"{repo} lacks {len(missing)} of the model's weights, {missing[0]} first")
    return model.eval()


def fetch(repo: str, path: str, revision: str) -> Path:
    """One file.

    Raises:
        SourceUnreachable: it is not in the cache and the hub does not send it.
        SourceMissing: the repository holds no such file.
    """
    cached = try_to_load_from_cache(repo, path, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    _require_hub(f"{repo}/{path}")
    _log.info("fetching %s from %s", path, repo)
    try:
        return Path(hf_hub_download(repo, path, revision=revision))
    except LocalEntryNotFoundError:
        raise SourceUnreachable(f"the hub did not send {repo}/{path}") from None
    except EntryNotFoundError:
        raise SourceMissing(f"{repo} at {revision[:12]} holds no {path}") from None
    except OSError as error:  # every other failure of the hub's client and of the network is one
        raise SourceUnreachable(f"{repo}/{path} could not be fetched: {type(error).__name__}") from error


def _fetch_checkpoint(repo: str, revision: str) -> Path:
    """The folder with the original configuration and weights."""
    configuration = fetch(repo, _CONFIG_FILE, revision)
    for name in _WEIGHTS_FILES:
        try:
            fetch(repo, name, revision)
        except SourceMissing:
            continue
        return configuration.parent
    raise SourceMissing(f"{repo} at {revision[:12]} holds none of {', '.join(_WEIGHTS_FILES)}")


def _require_hub(wanted: str) -> None:
    """Ask once, with little patience: the hub's client repeats a failed request for half a minute."""
    if constants.HF_HUB_OFFLINE:
        raise SourceUnreachable(f"{wanted} is not in the hub client's cache, and this is offline mode")
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310  as configured
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        pass  # an answer, whatever it says
    except OSError:
        raise SourceUnreachable(
            f"the hub does not answer, and {wanted} is not in its client's cache"
        ) from None
