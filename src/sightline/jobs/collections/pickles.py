"""Classifiers of the image-embed service: pickled scikit-learn models become plain numbers.

Unpickling runs whatever code the file's author put there, so it happens here alone, never in a server, and
only for files that somebody vouches for.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.collections import Classifier, Collections, Recipe, Space
from sightline.errors import InvalidRequest
from sightline.jobs.collections import scikit
from sightline.jobs.collections.linear_models import logistic
from sightline.types import Target

INDEX_NAME = "best_models.json"
# Of that service's embeddings. Its DINOv2 is timm's, at 518 pixels.
SPACES: Mapping[str, str] = {
    "embed_clip_vit_b_32": "clip-vit-b-32",
    "embed_dino_v2": "dinov2-base-518",
}
# What an index of its first form, without embedding types, means.
DEFAULT_EMBEDDING = "embed_clip_vit_b_32"

_FILE_NAME = re.compile(r"collection_(?P<id>[A-Za-z0-9._-]+?)_(compatible_)?classifier(_(?P<made>.+))?\.pkl")
_TIMES = ("%Y%m%d_%H%M%S", "%Y%m%d%H%M%S", "%Y-%m-%d_%H-%M-%S", "%Y%m%dT%H%M%S")


@dataclass(frozen=True, slots=True)
class OldEntry:
    """One classifier as that service's index describes it; ``dimensions`` is None in the first form."""

    collection: str
    file_name: str
    target: Target = Target.WHOLE_IMAGE
    embedding: str = DEFAULT_EMBEDDING
    dimensions: int | None = None

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Raises InvalidRequest for an embedding that has no counterpart here."""
        names = self.embedding.split("+")
        unknown = [name for name in names if name not in SPACES]
        if unknown:
            known = ", ".join(SPACES)
            raise InvalidRequest(
                f"{self.file_name} was trained on {unknown[0][:100]!r}, which has no counterpart here; "
                f"those that have are {known}, joined by + if there are several"
            )
        return tuple(Space(SPACES[name]) for name in names)


def import_pickle(
    path: Path,
    collections: Collections,
    *,
    trusted: bool,
    entry: OldEntry | None = None,
    fingerprints: Mapping[str, str] | None = None,
    promote: bool | None = None,
) -> Classifier:
    """Store an old classifier as a version of its collection.

    It serves at once if nothing else of the collection does, or as ``promote`` says. What it was trained on
    is what ``entry`` says, or the index beside the file, or else CLIP vectors of whole images.

    Args:
        path: a file of joblib or pickle with a linear classifier of two classes: see ``linear_models``.
        trusted: the caller knows who made the file and that it may run code here.
        fingerprints: of the models that made the vectors, by space; answers carry a warning for those nobody
            knows.

    Raises:
        InvalidRequest: not ``trusted``, the file is no such classifier, or it is not what the index says.
        ConfigurationError: scikit-learn is not installed.
        CollectionBusy, CollectionError: see ``Collection.changing``.
    """
    if not trusted:
        raise InvalidRequest(
            f"{path.name} is a pickle, and opening one runs the code in it: say that you trust who made it"
        )
    entry = entry or _entry_beside(path)
    spaces = tuple(
        Space(space.name, (fingerprints or {}).get(space.name, space.fingerprint)) for space in entry.spaces
    )
    collection = collections.collection(entry.collection)
    weights, intercept = _numbers(path)
    if entry.dimensions not in (None, weights.size):
        raise InvalidRequest(
            f"{path.name} has {weights.size} weights, and its index says {entry.dimensions} dimensions"
        )
    with collection.changing() as change:
        classifier = change.add(
            Recipe(spaces, weights.size, entry.target),
            weights,
            intercept,
            origin=f"imported from {path.name}",
            trained_at=_made_at(path.name),
        )
        if promote or (promote is None and collection.signature() is None):
            change.promote(classifier.record.version)
    return classifier


def old_entries(index: Path) -> list[OldEntry]:
    """What a ``best_models.json`` lists, in both of its forms: an object per collection, or a bare file name.

    Raises:
        InvalidRequest: it cannot be read, or an entry is not of these forms; the message names it.
    """
    try:
        listed = json.loads(index.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{index.name} cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(listed, dict):
        raise InvalidRequest(f"{index.name} must be an object with an entry per collection")
    return list(_entries(listed, index.name))


def _entries(listed: Mapping[str, Any], index_name: str) -> Iterator[OldEntry]:
    for collection, value in listed.items():
        fields = {"model_file": value} if isinstance(value, str) else value
        about = f"the entry {collection[:100]!r} of {index_name}"
        if not isinstance(fields, dict) or not isinstance(fields.get("model_file"), str):
            raise InvalidRequest(f"{about} must be a file name, or an object with a 'model_file'")
        # Written there with the folder it was in; here it lies beside the index.
        file_name = re.split(r"[/\\]", fields["model_file"])[-1]
        target = fields.get("derivative_type") or Target.WHOLE_IMAGE.value
        if target not in list(Target):
            allowed = ", ".join(Target)
            raise InvalidRequest(
                f"{about} has the derivative_type {str(target)[:100]!r}; known are {allowed}"
            )
        embedding = fields.get("embedding_type") or DEFAULT_EMBEDDING
        dimensions = fields.get("dimensionality")
        if not isinstance(embedding, str) or not isinstance(dimensions, int | None):
            raise InvalidRequest(f"{about} needs an embedding_type, a string, and a dimensionality, a number")
        yield OldEntry(collection, file_name, Target(target), embedding, dimensions)


def _entry_beside(path: Path) -> OldEntry:
    """What the index beside a file says of it, or of another version of its collection, or else its name."""
    named = _FILE_NAME.fullmatch(path.name)
    index = path.with_name(INDEX_NAME)
    entries = old_entries(index) if index.exists() else []
    for entry in entries:
        if entry.file_name == path.name:
            return entry
    if named is None:
        raise InvalidRequest(
            f"which collection {path.name} is of is not known: say so, name it collection_ID_classifier.pkl, "
            f"or put {INDEX_NAME} beside it"
        )
    for entry in entries:
        if entry.collection == named["id"]:
            return OldEntry(entry.collection, path.name, entry.target, entry.embedding, entry.dimensions)
    return OldEntry(named["id"], path.name)


def _numbers(path: Path) -> tuple[NDArray[np.float64], float]:
    try:
        with warnings.catch_warnings():
            # Of another version of scikit-learn, mostly; nothing of it is used but its numbers.
            warnings.simplefilter("ignore")
            model = scikit.joblib().load(path)
    except FileNotFoundError:
        raise InvalidRequest(f"there is no file {path.name}") from None
    except Exception as error:
        raise InvalidRequest(f"{path.name} does not open as a pickle ({type(error).__name__})") from error
    try:
        linear = logistic(model)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path.name}: {error}") from error
    if linear.classes not in (("False", "True"), ("0", "1"), ("0.0", "1.0")):
        known = ", ".join(linear.classes)[:100]
        raise InvalidRequest(f"{path.name} tells {known} apart; expected false and true")
    if not (np.isfinite(linear.weights).all() and np.isfinite(linear.intercept)):
        raise InvalidRequest(f"{path.name} has numbers that are not finite")
    return linear.weights, linear.intercept


def _made_at(file_name: str) -> str | None:
    """The time in its name, in whatever zone it was written."""
    named = _FILE_NAME.fullmatch(file_name)
    for form in _TIMES:
        try:
            return datetime.strptime((named and named["made"]) or "", form).isoformat(timespec="seconds")
        except ValueError:
            continue
    return None
