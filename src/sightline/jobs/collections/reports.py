"""Collections, versions and trainings as plain JSON-able data: for ``/v1/collections`` and ``--json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sightline.collections import Classifier, Collection, Collections, Index, Recipe, Scores
from sightline.errors import CollectionDamaged, CollectionError, UnknownCollection
from sightline.jobs.collections.embedding import Embedded
from sightline.jobs.collections.training import Training


def collections_report(collections: Collections) -> list[dict[str, Any]]:
    """One entry per collection, what serves of each, or what is wrong with it."""
    return [_summary(collections.collection(name)) for name in collections.names()]


def collection_report(collection: Collection) -> dict[str, Any]:
    """One collection with all its versions, the newest first.

    Raises:
        UnknownCollection: nothing of it is stored.
    """
    stored = collection.versions()
    if not stored:
        raise UnknownCollection(collection.name)
    index, problem = _index(collection)
    ranking = {each.version: each.held_out for each in index.ranking} if index else {}
    versions = [_version(collection, version, ranking, index) for version in reversed(stored)]
    return {
        "collection": collection.name,
        "serving": index.serving if index else None,
        "history": list(index.history) if index else [],
        "problem": problem,
        "versions": versions,
    }


def version_report(classifier: Classifier) -> dict[str, Any]:
    """All that is known of a version, but its numbers."""
    record = classifier.record
    return {
        "version": record.version,
        "fingerprint": classifier.fingerprint,
        "recipe": recipe_report(record.recipe),
        "origin": record.origin,
        "trained_at": record.trained_at,
        "examples": record.examples,
        "positives": record.positives,
        "threshold": record.threshold,
        "held_out": scores_report(record.held_out),
    }


def training_report(training: Training, source: Embedded | None = None) -> dict[str, Any]:
    """What became of a training, and of the pictures it was to learn from."""
    report: dict[str, Any] = {
        "trained": version_report(training.trained),
        "serving": training.serving.record.version,
        "ranking": [
            {"version": each.version, "held_out": scores_report(each.held_out)} for each in training.ranking
        ],
        "not_compared": dict(training.not_compared),
        "discarded": list(training.discarded),
    }
    return report | (source_report(source) if source else {})


def source_report(source: Embedded) -> dict[str, Any]:
    """How examples came about."""
    return {
        "skipped": [asdict(each) for each in source.skipped],
        "reused": source.reused,
        "warnings": list(source.warnings),
    }


def recipe_report(recipe: Recipe) -> dict[str, Any]:
    return {
        "spaces": [{"name": space.name, "fingerprint": space.fingerprint} for space in recipe.spaces],
        "dimensions": recipe.dimensions,
        "target": recipe.target.value,
        "face_context": recipe.face_context.value,
    }


def scores_report(scores: Scores | None) -> dict[str, Any] | None:
    return asdict(scores) if scores else None


def _summary(collection: Collection) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "collection": collection.name,
        "serving": None,
        "versions": len(collection.versions()),
        "problem": None,
    }
    try:
        summary["serving"] = version_report(collection.serving())
    except (UnknownCollection, CollectionError) as error:
        summary["problem"] = str(error)
    return summary


def _index(collection: Collection) -> tuple[Index | None, str | None]:
    try:
        return collection.index(), None
    except (UnknownCollection, CollectionDamaged) as error:
        return None, str(error)


def _version(
    collection: Collection, version: str, ranking: dict[str, Scores], index: Index | None
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "version": version,
        "serving": index is not None and index.serving == version,
        "newest_held_out": scores_report(ranking.get(version)),
        "problem": None,
    }
    try:
        return report | version_report(collection.read(version))
    except CollectionError as error:
        return report | {"problem": str(error)}
