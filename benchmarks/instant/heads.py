"""Heads that could be the instant head, fitted on the same places of the same labels.

Each is a list of members, whose probabilities are averaged. All see images alike and rare classes more often,
as the perceptron does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from infers.instant.features import Features
from infers.instant.head import inputs
from trainers.instant.fit import BALANCE, fit
from trainers.instant.labelled import Labelled

BOOTSTRAPS = 5
PLACES = 1 << 16  # drawn of all labelled images for the heads of scikit-learn
Member = Callable[[Features], np.ndarray]  # returns (n, g, g, 1 + classes), background first


def perceptron(items: Sequence[Labelled], classes: Sequence[int], seed: int) -> list[Member]:
    """Fit the head that the app uses."""
    return [fit(items, "key", classes, seed, validate=False).predict]


def bootstraps(items: Sequence[Labelled], classes: Sequence[int], seed: int) -> list[Member]:
    """Fit a perceptron on each of `BOOTSTRAPS` draws of the labelled images with replacement."""
    random = np.random.default_rng(seed)
    draws = [random.choice(len(items), len(items)) for _ in range(BOOTSTRAPS)]
    seeds = range(seed * BOOTSTRAPS, (seed + 1) * BOOTSTRAPS)
    return [
        fit([items[i] for i in draw], "key", classes, own, validate=False).predict
        for draw, own in zip(draws, seeds, strict=True)
    ]


def ridge(items: Sequence[Labelled], classes: Sequence[int], seed: int) -> list[Member]:
    """Fit ridge regression of the classes; its values are cut to [0, 1] and scaled to a sum of 1."""
    from sklearn.linear_model import Ridge

    x, y, weights = _rows(items, seed)
    model = Ridge().fit(x, np.eye(1 + len(classes))[y], sample_weight=weights)

    def predict(features: Features) -> np.ndarray:
        values = model.predict(inputs(features)).clip(1e-6, 1)
        shares = values / values.sum(axis=1, keepdims=True)
        return shares.astype(np.float32).reshape(*features.grids.shape[:3], -1)

    return [predict]


def logistic(items: Sequence[Labelled], classes: Sequence[int], seed: int) -> list[Member]:
    """Fit multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return [_classifier(LogisticRegression(max_iter=500), items, classes, seed)]


def boosting(items: Sequence[Labelled], classes: Sequence[int], seed: int) -> list[Member]:
    """Fit gradient boosting of histograms, with scikit-learn's defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return [_classifier(HistGradientBoostingClassifier(random_state=seed), items, classes, seed)]


def _classifier(model: Any, items: Sequence[Labelled], classes: Sequence[int], seed: int) -> Member:
    from sklearn.dummy import DummyClassifier

    x, y, weights = _rows(items, seed)
    fitted = model if len(np.unique(y)) > 1 else DummyClassifier()  # the others refuse a single class
    fitted.fit(x, y, sample_weight=weights)

    def predict(features: Features) -> np.ndarray:
        rows = inputs(features)
        shares = np.zeros((len(rows), 1 + len(classes)), np.float32)
        shares[:, fitted.classes_] = fitted.predict_proba(rows)
        return shares.reshape(*features.grids.shape[:3], -1)

    return predict


def _rows(items: Sequence[Labelled], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw places: inputs (n, INPUTS), the largest class of each (n,), and weights (n,) of mean 1."""
    random, parts = np.random.default_rng(seed), []
    for item in items:
        x, y = inputs(item.features), item.shares.reshape(-1, item.shares.shape[-1]).argmax(axis=1)
        chosen = random.permutation(len(x))[: PLACES // len(items)]
        parts.append((x[chosen], y[chosen], np.full(len(chosen), 1 / len(chosen))))
    x, y, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    weights = weights * (np.bincount(y, weights)[y] ** -BALANCE)
    return x, y, weights / weights.mean()
