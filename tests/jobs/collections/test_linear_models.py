"""Each model that is converted gives scikit-learn's own probabilities; each other is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from sightline.errors import InvalidRequest
from sightline.jobs.collections.linear_models import logistic

VECTORS = np.random.default_rng(0).normal(3, 2, (120, 6)) * (1, 10, 0.1, 1, 5, 1)
LABELS = VECTORS @ (1, 0.1, 3, -1, 0.2, 0) + np.random.default_rng(1).normal(0, 2, 120) > 4
STRANGERS = np.random.default_rng(2).normal(3, 4, (300, 6))


def calibrated(model: Any, **more: Any) -> CalibratedClassifierCV:
    return CalibratedClassifierCV(model, **{"ensemble": False, "cv": 3, **more})


CONVERTED: dict[str, Callable[[], Any]] = {
    "lbfgs": lambda: LogisticRegression(max_iter=5000),
    "liblinear": lambda: LogisticRegression(solver="liblinear", class_weight="balanced"),
    "no intercept": lambda: LogisticRegression(fit_intercept=False, max_iter=5000),
    "log loss": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "discriminant analysis": LinearDiscriminantAnalysis,
    "standard scaler": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "only centred": lambda: make_pipeline(StandardScaler(with_std=False), LogisticRegression(max_iter=5000)),
    "only scaled": lambda: make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
    "robust scaler": lambda: make_pipeline(RobustScaler(), LogisticRegression()),
    "half a robust scaler": lambda: make_pipeline(
        RobustScaler(with_scaling=False), LinearDiscriminantAnalysis()
    ),
    "to a range": lambda: make_pipeline(MinMaxScaler((-1, 3)), LogisticRegression()),
    "by the largest": lambda: make_pipeline(MaxAbsScaler(), LogisticRegression()),
    "several steps": lambda: make_pipeline(
        MinMaxScaler(), "passthrough", StandardScaler(), make_pipeline(MaxAbsScaler(), LogisticRegression())
    ),
    "calibrated machine": lambda: calibrated(LinearSVC()),
    "calibrated perceptron": lambda: calibrated(Perceptron()),
    "calibrated ridge": lambda: calibrated(RidgeClassifier()),
    "calibrated hinge": lambda: calibrated(SGDClassifier(random_state=0)),
    "calibrated regression": lambda: calibrated(LogisticRegression(max_iter=5000)),
    "calibrated pipeline": lambda: calibrated(make_pipeline(StandardScaler(), LinearSVC())),
    "pipeline of calibrated": lambda: make_pipeline(StandardScaler(), calibrated(LinearSVC())),
    "searched": lambda: GridSearchCV(LogisticRegression(max_iter=5000), {"C": [0.1, 1]}),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_probabilities_are_those_of_the_model(name: str) -> None:
    model = CONVERTED[name]().fit(VECTORS, LABELS)
    found = logistic(model)
    ours = expit(STRANGERS @ found.weights + found.intercept)
    np.testing.assert_allclose(ours, model.predict_proba(STRANGERS)[:, 1], atol=1e-9, rtol=0)
    assert found.classes == ("False", "True")


def test_cross_validated_regressions_and_sparse_weights() -> None:
    model = LogisticRegression(max_iter=5000).fit(VECTORS, LABELS)
    dense = logistic(model)
    model.coef_ = scipy.sparse.csr_matrix(model.coef_)
    np.testing.assert_array_equal(logistic(model).weights, dense.weights)
    searched = LogisticRegressionCV.__new__(LogisticRegressionCV)
    vars(searched).update(vars(model), coef_=dense.weights[None])
    np.testing.assert_array_equal(logistic(searched).weights, dense.weights)


@pytest.mark.parametrize("kind", ["auto", "ovr", "warn", "deprecated"])
def test_older_models_of_one_class_against_the_rest(kind: str) -> None:
    model = LogisticRegression(max_iter=5000).fit(VECTORS, LABELS)
    expected = logistic(model)
    model.multi_class = kind
    np.testing.assert_array_equal(logistic(model).weights, expected.weights)


def test_older_multinomial_models_are_a_softmax_over_both_signs() -> None:
    model = LogisticRegression(max_iter=5000).fit(VECTORS, LABELS)
    model.multi_class = "multinomial"
    found = logistic(model)
    decision = model.decision_function(STRANGERS)
    softmax = np.exp(decision) / (np.exp(decision) + np.exp(-decision))
    ours = expit(STRANGERS @ found.weights + found.intercept)
    np.testing.assert_allclose(ours, softmax, atol=1e-12, rtol=0)
    model.multi_class = "new"
    with pytest.raises(InvalidRequest, match="unknown multi_class: 'new'"):
        logistic(model)


class LogisticRegressionOfOurs(LogisticRegression):
    """May have probabilities of its own."""


Ours = type("LogisticRegression", (LogisticRegression,), {"__module__": "elsewhere"})

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "support vectors": (LinearSVC, "a LinearSVC cannot be imported: it has no probabilities"),
    "perceptron": (Perceptron, "a Perceptron"),
    "ridge": (RidgeClassifier, "a RidgeClassifier"),
    "hinge": (SGDClassifier, "loss: hinge; expected log_loss"),
    "modified Huber": (lambda: SGDClassifier(loss="modified_huber"), "loss: modified_huber"),
    "linear kernel": (lambda: SVC(kernel="linear"), "a SVC"),
    "trees": (RandomForestClassifier, "a RandomForestClassifier"),
    "isotonic": (lambda: calibrated(LinearSVC(), method="isotonic"), "method: isotonic; expected sigmoid"),
    "temperature": (lambda: calibrated(LinearSVC(), method="temperature"), "method: temperature"),
    "a mean of several": (lambda: calibrated(LinearSVC(), ensemble=True), "expected ensemble=False"),
    "calibrated trees": (lambda: calibrated(RandomForestClassifier()), "a RandomForestClassifier"),
    "unit length": (lambda: make_pipeline(Normalizer(), LogisticRegression()), "a Normalizer"),
    "components": (lambda: make_pipeline(PCA(6), LogisticRegression()), "a PCA"),
    "cut to a range": (lambda: make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), "clip: True"),
    "machine after scaling": (lambda: make_pipeline(StandardScaler(), LinearSVC()), "a LinearSVC"),
    "a subclass": (LogisticRegressionOfOurs, "a LogisticRegressionOfOurs"),
    "a subclass of that name": (Ours, "a LogisticRegression cannot be imported: not a known"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_probabilities_are_refused_by_name(name: str) -> None:
    make, said = REFUSED[name]
    model: BaseEstimator = make().fit(VECTORS, LABELS)
    with pytest.raises(InvalidRequest, match=said):
        logistic(model)
