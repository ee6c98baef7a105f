"""How good a version is on examples it was not trained on, and where it should draw the line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.collections import Classifier, Scores
from sightline.collections.records import DEFAULT_THRESHOLD
from sightline.errors import CollectionError
from sightline.jobs.collections.examples import Examples, Labels
from sightline.jobs.collections.scikit import scikit


def evaluate(classifier: Classifier, examples: Examples) -> Scores:
    """Scores of ``classifier`` on ``examples``, deciding at a probability of 0.5.

    Raises:
        CollectionError: the examples were made by another recipe than it was trained on.
        ConfigurationError: scikit-learn is not installed.
    """
    if not classifier.recipe.fits(examples.recipe):
        record = classifier.record
        raise CollectionError(
            f"version {record.version} of collection {record.collection} was trained on {record.recipe}; "
            f"these examples are {examples.recipe}, or of another model of that name"
        )
    return scores_of(classifier.scores(examples.vectors), examples.labels)


def scores_of(log_odds: NDArray[np.float64], labels: Labels) -> Scores:
    """The same for ``log_odds`` [N] of examples with these ``labels`` [N]."""
    metrics = scikit("metrics")
    said = log_odds > 0
    # Of a version that never says "in", the precision is 0.
    return Scores(
        precision=float(metrics.precision_score(labels, said, zero_division=0)),
        recall=float(metrics.recall_score(labels, said, zero_division=0)),
        macro_precision=float(metrics.precision_score(labels, said, average="macro", zero_division=0)),
        # A sum of shares, and it may be 1 and a little.
        average_precision=min(1.0, float(metrics.average_precision_score(labels, log_odds))),
        examples=len(labels),
        positives=int(labels.sum()),
    )


def calibrated_threshold(probabilities: NDArray[np.float64], labels: Labels) -> float:
    """The probability above which "in the collection" has the best F1 score.

    Of equally good ones the one with the widest gap around it, in whose middle it lies. ``probabilities`` and
    ``labels`` [N].
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    found = np.cumsum(labels[order])
    taken = np.arange(1, len(ranked) + 1)
    f1 = 2 * found / (taken + found[-1])
    below = np.append(ranked[1:], 0.0)
    # A line can only be drawn between two probabilities that differ.
    middle = (ranked + below) / 2
    drawable = (middle < ranked) & (middle >= below)
    if not drawable.any():
        return DEFAULT_THRESHOLD
    best = np.flatnonzero(drawable & (f1 >= f1[drawable].max() - 1e-12))
    return float(middle[best[np.argmax((ranked - below)[best])]])
