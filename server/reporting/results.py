"""What the labels have brought so far: models over rounds, annotators' pace, and whether to go on.

Every number is worked out from the pool's state; `docs/results.md` has the formulas.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from bundle_configs import Bundle
from infers.metrics import counted
from pool.database.models import Model
from strategies.context import Context

CONFIDENCE = 0.95
SMALL_GAIN = 0.005  # Dice that the next batch must be expected to bring
SMALL_CHANGE = 0.01  # Dice that the last round may have brought at most
ALIKE = 0.95  # Dice between the predictions of successive models
Scores = Mapping[str, dict[str, list[float]]]  # by image, as `infers.metrics.score_image`


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

    :param gain: paired difference in Dice to the round before, over the images that both were measured on
    :param agreement: Dice between its predictions and those of the round before
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
    """What one annotator did. `minutes`: median from hand-out to label; None when none was handed out."""

    annotator: str
    labels: int
    last_day: int
    minutes: float | None

    @property
    def per_hour(self) -> float | None:
        """Labels per hour of work, by the median."""
        return 60 / self.minutes if self.minutes else None


@dataclass(frozen=True)
class Advice:
    """Whether more labels are worth it: `verdict` "go on", "stop" or "unknown", and why.

    :param expected_gain: Dice that the next batch is expected to bring, by the fitted curve
    """

    verdict: str
    why: str
    expected_gain: float | None = None


@dataclass(frozen=True)
class Results:
    """All of it. `metric` says what Dice means, `unit` what HD95 is in."""

    metric: str
    unit: str
    rounds: list[Round]
    annotators: list[Pace]
    advice: Advice

    def as_json(self) -> dict[str, Any]:
        """For the page and other programs."""
        paces = [asdict(pace) | {"per_hour": pace.per_hour} for pace in self.annotators]
        return asdict(self) | {"annotators": paces}


def results_of(context: Context, bundle: Bundle) -> Results:
    """From the pool's state as it is now."""
    metric, rounds = bundle.get("metric"), []
    before: dict[str, float] = {}
    for model in reversed(context.state.models.all()):
        scores = {i: s for i, s in context.state.validations.of(model.fingerprint).items() if s}
        found = _round(model, scores, metric, list(bundle.get("labels")), before)
        rounds.append(found)
        before = _dice(scores, metric) or before
    unit = "mm" if bundle.get("dimensions") == 3 else "px at 256"
    return Results(metric, unit, rounds, _paces(context), advise(rounds, context.settings.batch_size))


def interval(values: Sequence[float]) -> Interval | None:
    """Mean and percentile bootstrap interval over images, seeded; None without any."""
    return _interval(tuple(values)) if values else None


@lru_cache(maxsize=1024)
def _interval(values: tuple[float, ...]) -> Interval:
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None, len(values))
    found = bootstrap(
        (np.asarray(values),),
        np.mean,
        confidence_level=CONFIDENCE,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(values))


def _dice(scores: Scores, metric: str) -> dict[str, float]:
    """Mean Dice of each image over the classes that count; images where none does are left out."""
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
    for name in sorted({who for _, who, _ in labels}):
        minutes = [seconds / 60 for who, seconds in durations if who == name]
        images = {image for image, who, _ in labels if who == name}
        lately = {image for image, who, created in labels if who == name and created > since}
        median = statistics.median(minutes) if minutes else None
        paces.append(Pace(name, len(images), len(lately), median))
    return paces


def expected_gain(labels: Sequence[int], dice: Sequence[float], batch: int) -> float | None:
    """Dice that `batch` more labels bring by the curve a - b / sqrt(labels), fitted by least squares.

    None with fewer than three rounds of different size; never negative.
    """
    if len(set(labels)) < 3:
        return None
    x = 1 / np.sqrt(np.asarray(labels, dtype=float))
    slope = np.polyfit(x, np.asarray(dice), 1)[0]
    return max(0.0, float(slope * (1 / np.sqrt(labels[-1] + batch) - x[-1])))


def advise(rounds: Sequence[Round], batch: int) -> Advice:
    """Stop when the next batch is expected to bring little, the last one brought little, and successive
    models say the same."""
    measured = [row for row in rounds if row.dice]
    gain = expected_gain(
        [row.labels for row in measured], [row.dice.mean for row in measured if row.dice], batch
    )
    if gain is None:
        return Advice(
            "unknown",
            "Three models of different numbers of labels, measured on held-out images (--conf "
            "validation_budget), are needed to say.",
        )
    # the first model of the newest number of labels: another of the same labels gains nothing and agrees
    last = next(row for row in measured if row.labels == measured[-1].labels)
    reached = last.gain.high if last.gain and last.gain.high is not None else None
    alike = last.agreement.mean if last.agreement else None
    facts = (
        f"{batch} more labels are expected to bring {gain:.4f} Dice (a - b / sqrt(labels)); the last round "
        f"brought at most {_shown(reached)} (upper end of the 95 % interval), and the last two models agree "
        f"to {_shown(alike)} Dice."
    )
    little = reached is not None and alike is not None and gain < SMALL_GAIN and reached < SMALL_CHANGE
    if little and alike is not None and alike >= ALIKE:
        return Advice("stop", f"Little more is to be expected: {facts}", gain)
    return Advice("go on", f"More labels pay: {facts}", gain)


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
