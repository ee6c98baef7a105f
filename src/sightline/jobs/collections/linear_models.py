"""Fitted scikit-learn models as one logistic function: P(true) = 1 / (1 + exp(-(weights · x + intercept))).

Only models whose ``predict_proba`` is exactly that are converted. Having ``coef_`` is not enough: support
vector machines give distances, and other losses other functions of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidRequest

Vector = NDArray[np.float64]

_MOST_NESTED = 5
# What ``LogisticRegression.multi_class`` of scikit-learn before 1.8 means for two classes. "multinomial" is a
# softmax over (-d, d), the logistic function of 2 d.
_SCALE_OF: Mapping[object, float] = {
    None: 1.0,
    **dict.fromkeys(("auto", "ovr", "warn", "deprecated"), 1.0),
    "multinomial": 2.0,
}
_LOGISTIC_LOSSES = ("log_loss", "log")  # its name until 1.1
_NO_PROBABILITIES = frozenset(
    {"LinearSVC", "Perceptron", "PassiveAggressiveClassifier", "RidgeClassifier", "RidgeClassifierCV"}
)


@dataclass(frozen=True, slots=True)
class LinearModel:
    """``weights`` float64 [dimensions] and ``intercept`` of a decision, positive for ``classes[1]``."""

    weights: Vector
    intercept: float
    classes: tuple[str, ...]

    def times(self, scale: float, shift: float = 0.0) -> LinearModel:
        return LinearModel(self.weights * scale, self.intercept * scale + shift, self.classes)


def logistic(model: object) -> LinearModel:
    """Return the model's logistic function.

    Raises:
        InvalidRequest: its probabilities are not one, or are not known to be; the message names the model.
    """
    try:
        return _logistic(model, _MOST_NESTED)
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise _refused(model, f"it is not a fitted model ({type(error).__name__})") from error


def _logistic(model: Any, depth: int) -> LinearModel:
    name = _name(model)
    if name in ("LogisticRegression", "LogisticRegressionCV"):
        multi_class = vars(model).get("multi_class")
        if multi_class not in _SCALE_OF:
            raise _refused(model, f"unknown multi_class: {multi_class!r}")
        return _decision(model, depth).times(_SCALE_OF[multi_class])
    if name == "SGDClassifier":
        if model.loss not in _LOGISTIC_LOSSES:
            raise _refused(model, f"loss: {model.loss}; expected log_loss")
        return _decision(model, depth)
    if name == "LinearDiscriminantAnalysis":
        return _decision(model, depth)
    if name == "CalibratedClassifierCV":
        return _calibrated(model, depth)
    if name in ("GridSearchCV", "RandomizedSearchCV") and depth:
        return _logistic(model.best_estimator_, depth - 1)
    if name == "Pipeline" and depth:
        return _after_steps(model, _logistic(model.steps[-1][1], depth - 1))
    if name in _NO_PROBABILITIES:
        raise _refused(
            model, "it has no probabilities; calibrate it with CalibratedClassifierCV(ensemble=False)"
        )
    raise _refused(model, "not a known linear classifier with logistic probabilities")


def _calibrated(model: Any, depth: int) -> LinearModel:
    """Platt's scaling of one model: 1 / (1 + exp(a d + b))."""
    if len(model.calibrated_classifiers_) != 1:
        raise _refused(model, "it is a mean of several models; expected ensemble=False")
    (calibrated,) = model.calibrated_classifiers_
    calibrators = calibrated.calibrators if hasattr(calibrated, "calibrators") else calibrated.calibrators_
    if model.method != "sigmoid" or [type(each).__name__ for each in calibrators] != ["_SigmoidCalibration"]:
        raise _refused(model, f"method: {model.method}; expected sigmoid")
    inner = calibrated.estimator if hasattr(calibrated, "estimator") else calibrated.base_estimator
    decision = _decision(inner, depth)
    a, b = float(calibrators[0].a_), float(calibrators[0].b_)
    return decision.times(-a, -b)


def _decision(model: Any, depth: int) -> LinearModel:
    """``decision_function`` of a linear classifier, or of a pipeline that ends in one."""
    name = _name(model)
    if name == "Pipeline" and depth:
        return _after_steps(model, _decision(model.steps[-1][1], depth - 1))
    known = name in _NO_PROBABILITIES or name in (
        *("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearDiscriminantAnalysis"),
    )
    if not known:
        raise _refused(model, "not a known linear classifier")
    weights = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
    weights = np.asarray(weights, np.float64)
    intercept = np.asarray(model.intercept_, np.float64).reshape(-1)
    classes = tuple(str(each) for each in model.classes_)
    if len(classes) != 2:
        raise InvalidRequest(f"a {name} tells {', '.join(classes)[:100]} apart; expected false and true")
    if weights.ndim == 1:
        weights = weights[None]
    if weights.ndim != 2 or weights.shape[0] != 1 or intercept.shape != (1,):
        raise InvalidRequest(f"a {name} has weights of shape {weights.shape}; expected [1, dimensions]")
    return LinearModel(weights[0], float(intercept[0]), classes)


# -- what comes before a classifier ------------------------------------------------------------------------


def _after_steps(pipeline: Any, model: LinearModel) -> LinearModel:
    """The same function of what goes into the pipeline: each step is x ↦ x · scale + shift."""
    for _, step in reversed(pipeline.steps[:-1]):
        if step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        if (scaling := _SCALINGS.get(_name(step))) is None:
            raise _refused(step, f"a step before the classifier; expected {', '.join(_SCALINGS)}")
        scale, shift = scaling(step)
        scale = np.broadcast_to(np.asarray(scale, np.float64), model.weights.shape)
        shift = np.broadcast_to(np.asarray(shift, np.float64), model.weights.shape)
        model = LinearModel(
            model.weights * scale, model.intercept + float(model.weights @ shift), model.classes
        )
    return model


def _standard(step: Any) -> tuple[Any, Any]:
    """(x - mean) / scale; also RobustScaler, whose middle is ``center_``."""
    middle = step.mean_ if _name(step) == "StandardScaler" else step.center_
    centred = step.with_mean if _name(step) == "StandardScaler" else step.with_centering
    scaled = step.with_std if _name(step) == "StandardScaler" else step.with_scaling
    scale = 1 / np.asarray(step.scale_, np.float64) if scaled else 1.0
    return scale, -np.asarray(middle, np.float64) * scale if centred else 0.0


def _min_max(step: Any) -> tuple[Any, Any]:
    if step.clip:
        raise _refused(step, "clip: True; expected False")
    return step.scale_, step.min_


def _max_abs(step: Any) -> tuple[Any, Any]:
    if vars(step).get("clip", False):
        raise _refused(step, "clip: True; expected False")
    return 1 / np.asarray(step.scale_, np.float64), 0.0


_SCALINGS: Mapping[str, Callable[[Any], tuple[Any, Any]]] = {
    "StandardScaler": _standard,
    "RobustScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
}


def _name(model: object) -> str:
    """The name of a class of scikit-learn; of others also where it is from, which no name here equals."""
    kind = type(model)
    ours = kind.__module__.partition(".")[0] == "sklearn"
    return kind.__name__ if ours else f"{kind.__module__}.{kind.__name__}"


def _refused(model: object, reason: str) -> InvalidRequest:
    return InvalidRequest(f"a {type(model).__name__} cannot be imported: {reason}")
