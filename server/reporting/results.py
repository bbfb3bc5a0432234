"""Results of labelling so far: models by round, annotators' pace, and advice on whether to go on.

All numbers are computed from the pool's state; `docs/results.md` has the formulas.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from bundle_configs import Bundle
from infers.metrics import counted
from pool.database.models import Model
from strategies.context import Context

CONFIDENCE = 0.95
SMALL_GAIN = 0.005  # expected gain in Dice below which the next batch is not worth it
SMALL_CHANGE = 0.01  # gain in Dice below which the last round brought little
FASTEST = 2.0  # seconds from hand-out to label below which no person, but a program labelled
ALIKE = 0.95  # Dice between successive models' predictions from which they agree
Scores = Mapping[str, dict[str, list[float]]]  # by image, as from `infers.metrics.score_image`


@dataclass(frozen=True)
class Interval:
    """A mean over images and its 95 % bootstrap interval, None with fewer than two images."""

    mean: float
    low: float | None
    high: float | None
    images: int


@dataclass(frozen=True)
class Round:
    """One model, measured on the held-out images.

    :param gain: paired difference in Dice from the previous round, over images on which both were measured
    :param agreement: Dice between its predictions and those of the previous round
    """

    round: int
    model: str
    created: float
    labels: int
    dice: Interval | None
    hd95: Interval | None
    dice_per_class: dict[str, float | None]
    failures: int
    gain: Interval | None
    agreement: Interval | None


@dataclass(frozen=True)
class Pace:
    """The work of one annotator.

    :param minutes: median from hand-out to label, without those faster than a person can be; None if unknown
    """

    annotator: str
    labels: int
    last_day: int
    minutes: float | None

    @property
    def per_hour(self) -> float | None:
        """Labels per hour of work, from the median."""
        return 60 / self.minutes if self.minutes else None


@dataclass(frozen=True)
class CrossValidated:
    """An instant model: the labels it knew, and its Dice, cross-validated on them."""

    labels: int
    dice: float
    created: float


@dataclass(frozen=True)
class Advice:
    """Advice on labelling more: `verdict` "go on", "stop" or "unknown", and why.

    :param expected_gain: gain in Dice expected of the next batch, from the fitted curve
    """

    verdict: str
    why: str
    expected_gain: float | None = None


@dataclass(frozen=True)
class Results:
    """All results. `metric` defines Dice, `unit` is that of HD95."""

    metric: str
    unit: str
    rounds: list[Round]
    annotators: list[Pace]
    advice: Advice
    cross_validated: list[CrossValidated] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the results as JSON, for the page and other programs."""
        paces = [asdict(pace) | {"per_hour": pace.per_hour} for pace in self.annotators]
        return asdict(self) | {"annotators": paces}


def results_of(context: Context, bundle: Bundle) -> Results:
    """Compute the results from the current state of the pool."""
    metric, rounds = bundle.get("metric"), []
    before: dict[str, float] = {}
    for model in reversed(context.state.models.all()):
        scores = {i: s for i, s in context.state.validations.of(model.fingerprint).items() if s}
        round_ = _round(model, scores, metric, list(bundle.get("labels")), before)
        rounds.append(round_)
        before = _dice(scores, metric) or before
    unit = "mm" if bundle.get("dimensions") == 3 else "px at 256"
    advice = advise(rounds, context.settings.batch_size)
    return Results(metric, unit, rounds, _paces(context), advice, _cross_validated(context))


def _cross_validated(context: Context) -> list[CrossValidated]:
    """Return the newest instant model of each number of labels that has a Dice, by that number."""
    heads = context.state.ledger.heads()
    newest = {n: CrossValidated(n, dice, created) for n, dice, created in heads if dice is not None}
    return [newest[n] for n in sorted(newest)]


def interval(values: Sequence[float]) -> Interval | None:
    """Return mean and seeded percentile bootstrap interval over images; None without values."""
    return _interval(tuple(values)) if values else None


@lru_cache(maxsize=1024)
def _interval(values: tuple[float, ...]) -> Interval:
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None, len(values))
    bounds = bootstrap(
        (np.asarray(values),),
        np.mean,
        confidence_level=CONFIDENCE,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(bounds.low), float(bounds.high), len(values))


def _dice(scores: Scores, metric: str) -> dict[str, float]:
    """Return each image's mean Dice over the classes that count; images without any are left out."""
    if not scores:
        return {}
    rows = zip(scores.items(), counted(scores, metric), strict=True)
    return {image: float(np.array(score["dice"])[has].mean()) for (image, score), has in rows if has.any()}


def _round(
    model: Model, scores: Scores, metric: str, names: Sequence[str], before: Mapping[str, float]
) -> Round:
    dice = _dice(scores, metric)
    shared = sorted(dice.keys() & before.keys())
    agreement = [float(np.mean(s["agreement"])) for s in scores.values() if "agreement" in s]
    counts = counted(scores, metric) if scores else np.zeros((0, len(names)), bool)
    columns = zip(names, np.array([s["dice"] for s in scores.values()]).T, counts.T, strict=False)
    return Round(
        model.round,
        model.fingerprint,
        model.created,
        len(model.labelled),
        interval(list(dice.values())),
        interval([float(np.mean(s["hd95"])) for s in scores.values()]),
        {name: float(values[has].mean()) if has.any() else None for name, values, has in columns},
        sum(value < 0.5 for value in dice.values()),
        interval([dice[image] - before[image] for image in shared]),
        interval(agreement),
    )


def _paces(context: Context) -> list[Pace]:
    durations, labels = context.state.handouts.durations(), context.state.ledger.labels()
    since, paces = time.time() - 24 * 3600, []
    for name in sorted({client for _, client, _ in labels}):
        minutes = [s / 60 for client, s in durations if client == name and s >= FASTEST]
        images = {image for image, client, _ in labels if client == name}
        in_last_day = {image for image, client, created in labels if client == name and created > since}
        median = statistics.median(minutes) if minutes else None
        paces.append(Pace(name, len(images), len(in_last_day), median))
    return paces


def expected_gain(labels: Sequence[int], dice: Sequence[float], batch: int) -> float | None:
    """Estimate the gain in Dice of `batch` more labels by a least-squares fit of a - b / sqrt(labels).

    Never negative; None with fewer than three rounds of different sizes.
    """
    if len(set(labels)) < 3:
        return None
    x = 1 / np.sqrt(np.asarray(labels, dtype=float))
    slope = np.polyfit(x, np.asarray(dice), 1)[0]
    return max(0.0, float(slope * (1 / np.sqrt(labels[-1] + batch) - x[-1])))


def advise(rounds: Sequence[Round], batch: int) -> Advice:
    """Advise to stop when the expected gain and the last gain are small and successive models agree."""
    measured = [row for row in rounds if row.dice]
    gain = expected_gain(
        [row.labels for row in measured], [row.dice.mean for row in measured if row.dice], batch
    )
    if gain is None:
        return Advice(
            "unknown",
            "Three models with different numbers of labels, measured on held-out images (--conf "
            "hold_out or validation_budget), are needed for advice.",
        )
    # the first model with the newest number of labels: later ones of the same labels gain nothing and agree
    newest = next(row for row in measured if row.labels == measured[-1].labels)
    gain_limit = newest.gain.high if newest.gain and newest.gain.high is not None else None
    agreement = newest.agreement.mean if newest.agreement else None
    facts = (
        f"{batch} more labels are expected to bring {gain:.4f} Dice (a - b / sqrt(labels)); the last round "
        f"brought at most {_number_text(gain_limit)} (upper end of the 95 % interval), and the last two "
        f"models agree to {_number_text(agreement)} Dice."
    )
    gains_are_small = (
        gain_limit is not None and agreement is not None and gain < SMALL_GAIN and gain_limit < SMALL_CHANGE
    )
    if gains_are_small and agreement is not None and agreement >= ALIKE:
        return Advice("stop", f"More labels would bring little: {facts}", gain)
    return Advice("go on", f"More labels are worth it: {facts}", gain)


def _number_text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
