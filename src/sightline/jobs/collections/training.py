"""One training: fit, measure, compare with all earlier versions, let the best serve.

The constants are those of the service whose classifiers these replace, so that the same examples give the
same classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from sightline.collections import Classifier, Collection, Ranked
from sightline.collections.classifier import logistic
from sightline.collections.records import age
from sightline.errors import CollectionDamaged
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.scikit import scikit
from sightline.jobs.collections.scoring import calibrated_threshold, evaluate, scores_of

KEPT_VERSIONS = 10
HELD_OUT_SHARE = 0.2
SEED = 42
INVERSE_REGULARISATION = 0.1

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Training:
    """What became of a training.

    Attributes:
        trained: the new version.
        serving: the version that serves now: the new one, or an earlier one that is better.
        ranking: all versions that could be compared on the new held-out examples, best first.
        not_compared: why each other version could not be: damaged, or trained by another recipe.
        discarded: versions that were deleted for being past the ten best.
    """

    trained: Classifier
    serving: Classifier
    ranking: tuple[Ranked, ...]
    not_compared: Mapping[str, str]
    discarded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BakeOff:
    """``ranking``: best first. ``other_recipes`` (the newest first) and ``damaged`` say why by version."""

    ranking: list[Ranked]
    other_recipes: dict[str, str]
    damaged: dict[str, str]

    @property
    def past_the_best(self) -> tuple[str, ...]:
        """Versions that are not kept. Damaged ones are left for people to look at."""
        order = [*(each.version for each in self.ranking), *self.other_recipes]
        return tuple(order[KEPT_VERSIONS:])


def train(
    collection: Collection,
    examples: Examples,
    *,
    origin: str = "trained",
    report: Report = lambda step: None,
) -> Training:
    """Train a version of ``collection``, keep the ten best of all and let the best of them serve.

    ``report`` is told what is being done, in a few words. The work blocks for seconds.

    Raises:
        ConfigurationError: scikit-learn is not installed.
        CollectionBusy: the collection is being trained or changed by somebody else.
        CollectionError: its folder cannot be written. What served before goes on, whatever was raised.
    """
    scikit("linear_model")
    with collection.changing() as change:
        learnt, held_out = split(examples)
        report(f"fitting {len(learnt)} examples")
        weights, intercept = fit(learnt)
        report(f"measuring on {len(held_out)} held-out examples")
        log_odds = held_out.vectors @ weights + intercept
        trained = change.add(
            examples.recipe,
            weights,
            intercept,
            origin=origin,
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            examples=len(learnt),
            positives=learnt.positives,
            held_out=scores_of(log_odds, held_out.labels),
            threshold=calibrated_threshold(logistic(log_odds), held_out.labels),
        )
        report("comparing with earlier versions")
        result = bake_off(collection, held_out)
        serving = change.publish(result.ranking)
        change.discard(result.past_the_best)
    not_compared = result.other_recipes | result.damaged
    return Training(trained, serving, tuple(result.ranking), not_compared, result.past_the_best)


def split(examples: Examples) -> tuple[Examples, Examples]:
    """Four fifths to learn from and one fifth to hold out, both with the same share of either class."""
    rows = np.arange(len(examples))
    learnt, held_out = scikit("model_selection").train_test_split(
        rows, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=examples.labels
    )
    return examples.chosen(learnt), examples.chosen(held_out)


def fit(examples: Examples) -> tuple[NDArray[np.float64], float]:
    """Weights float64 [dimensions] and intercept of a logistic regression with balanced classes."""
    model = scikit("linear_model").LogisticRegression(
        class_weight="balanced", C=INVERSE_REGULARISATION, solver="liblinear", random_state=SEED
    )
    model.fit(examples.vectors, examples.labels)
    return np.array(model.coef_[0], np.float64), float(model.intercept_[0])


def bake_off(collection: Collection, held_out: Examples) -> BakeOff:
    """Every stored version on the same held-out examples.

    Ranked by macro precision; of equals the one with the better average precision, then the newer one. An
    earlier version may have learnt from some of these examples, which flatters it.
    """
    result = BakeOff([], {}, {})
    for version in reversed(collection.versions()):
        try:
            classifier = collection.read(version)
        except CollectionDamaged as error:
            result.damaged[version] = str(error)
            continue
        if classifier.recipe.fits(held_out.recipe):
            result.ranking.append(Ranked(version, evaluate(classifier, held_out)))
        else:
            result.other_recipes[version] = (
                f"trained on {classifier.recipe}, or on another model of that name"
            )
    result.ranking.sort(key=_merit, reverse=True)
    return result


def _merit(ranked: Ranked) -> tuple[float, float, tuple[str, int]]:
    return ranked.held_out.macro_precision, ranked.held_out.average_precision, age(ranked.version)
