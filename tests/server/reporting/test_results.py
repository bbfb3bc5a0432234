"""Results over rounds: hand-computed means, gains, pace and advice, on the page and in files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_configs import Bundle
from pool.database.handouts import Client, LeasePolicy
from pool.database.state import State
from server.pages.progress import background_work, training_work
from server.reporting import results as reporting
from server.reporting.page import as_csv, draw, render
from server.reporting.results import Interval, Round, advise, expected_gain, interval, results_of
from strategies.context import Context
from strategies.settings import Settings

BUNDLE = Bundle("cxr_lungs")
STATUS: dict[str, Any] = {
    "labelled": 8,
    "images": 20,
    "stage": "active",
    "round": 2,
    "validation": {"labelled": 3, "held_out": 3, "budget": 3},
    "encoder": "descriptor",
    "projection": "tsne",
    "alpha": 0.3,
    "seed": 42,
}


def scores(right: float, left: float, agreement: float | None = None) -> dict[str, list[float]]:
    more = {} if agreement is None else {"agreement": [agreement, agreement]}
    return {"dice": [right, left], "hd95": [4.0, 6.0], "one_empty": [0, 0], "present": [1.0, 1.0], **more}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(State(tmp_path, migrate=True), Settings(batch_size=4), "descriptor")


def with_rounds(context: Context) -> Context:
    state = context.state
    state.models.add("m1", ["t1", "t2"], {})
    state.validations.add("m1", "a", scores(0.5, 0.7))
    state.validations.add("m1", "b", scores(0.3, 0.5))
    state.validations.add("m1", "unusable", {})
    state.models.add("m2", ["t1", "t2", "t3", "t4"], {})
    state.validations.add("m2", "a", scores(0.8, 0.8, 0.6))
    state.validations.add("m2", "b", scores(0.7, 0.9, 0.4))
    state.validations.add("m2", "c", scores(0.2, 0.2))
    return context


def test_rounds_are_means_over_images_and_gains_are_paired(context: Context) -> None:
    first, second = results_of(with_rounds(context), BUNDLE).rounds
    assert first.labels == 2 and first.dice is not None and first.dice.mean == pytest.approx(0.5)
    assert first.dice.images == 2 and first.gain is None and first.failures == 1
    assert second.dice is not None and second.dice.mean == pytest.approx((0.8 + 0.8 + 0.2) / 3)
    assert second.gain is not None and second.gain.mean == pytest.approx((0.2 + 0.4) / 2)
    assert second.gain.images == 2, "c was not measured before"
    assert second.agreement is not None and second.agreement.mean == pytest.approx(0.5)
    assert second.hd95 is not None and second.hd95.mean == 5.0 and second.failures == 1
    assert second.dice_per_class == pytest.approx({"right lung": 1.7 / 3, "left lung": 1.9 / 3})


def test_an_interval_holds_the_mean_and_narrows_with_more_images() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 200).tolist()
    few, many = interval(values[:10]), interval(values)
    assert few and many and few.low is not None and few.high is not None and few.low < few.mean < few.high
    assert many.low is not None and many.high is not None and many.high - many.low < few.high - few.low
    assert interval(values) == many, "seeded"
    assert interval([0.7]) == Interval(0.7, None, None, 1) and interval([]) is None


def test_the_curve_has_the_instant_model_before_any_other_is_measured(context: Context) -> None:
    heads = context.state.heads
    for n, dice in ((1, None), (2, 0.4), (3, 0.5), (3, 0.6)):
        heads.add("f", f"{n}{dice}", n, b"", {"labels": {}, "dice": dice})
    results = results_of(context, BUNDLE)
    assert [(point.labels, point.dice) for point in results.cross_validated] == [(2, 0.4), (3, 0.6)]
    assert draw(results) != draw(replace(results, cross_validated=[]))
    assert results.as_json()["cross_validated"][0]["dice"] == 0.4


def test_pace_is_the_median_from_hand_out_to_label(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "FASTEST", 0.0)
    for image in ("x", "y", "z"):
        context.state.handouts.give(
            Client("ann"), "p", [image], lambda i: True, lambda i: {}, LeasePolicy(), moved_on=True
        )
        context.state.handouts.labelled(image, "ann", {})
    context.state.handouts.labelled("x", "ann", {})  # corrected: still one image
    context.state.handouts.labelled("w", "bob", {})  # never handed out
    ann, bob = results_of(context, BUNDLE).annotators
    assert (ann.annotator, ann.labels, ann.last_day) == ("ann", 3, 3)
    assert ann.minutes is not None and ann.minutes < 1 and ann.per_hour == pytest.approx(60 / ann.minutes)
    assert (bob.labels, bob.minutes, bob.per_hour) == (1, None, None)
    monkeypatch.undo()
    ann, bob = results_of(context, BUNDLE).annotators
    assert (ann.labels, ann.per_hour) == (3, None), "no person labels within milliseconds"


def test_the_expected_gain_follows_the_fitted_curve() -> None:
    labels = [4, 16, 64]
    dice = [0.9 - 0.4 / np.sqrt(n) for n in labels]
    assert expected_gain(labels, dice, 36) == pytest.approx(0.4 * (1 / 8 - 1 / 10))
    assert expected_gain(labels, dice[::-1], 36) == 0.0, "a falling curve promises nothing"
    assert (
        expected_gain([4, 8], [0.5, 0.6], 4) is None and expected_gain([4, 8, 8], [0.5, 0.6, 0.6], 4) is None
    )


def rounds_of(*dice: float, gain: float, agreement: float) -> list[Round]:
    spread = (Interval(gain, gain - 0.001, gain + 0.001, 9), Interval(agreement, None, None, 9))
    return [
        Round(n + 1, f"m{n}", 0.0, 10 * 2**n, Interval(d, d, d, 9), None, {}, 0, *spread)
        for n, d in enumerate(dice)
    ]


def test_advice_stops_only_when_all_three_signs_agree() -> None:
    flat = (0.9, 0.901, 0.9015)
    assert advise(rounds_of(*flat, gain=0.0005, agreement=0.98), 4).verdict == "stop"
    assert advise(rounds_of(*flat, gain=0.02, agreement=0.98), 4).verdict == "go on"
    assert advise(rounds_of(*flat, gain=0.0005, agreement=0.9), 4).verdict == "go on"
    assert advise(rounds_of(0.5, 0.7, 0.8, gain=0.0005, agreement=0.98), 4).verdict == "go on"
    assert advise(rounds_of(0.9, 0.9, gain=0.0, agreement=1.0), 4).verdict == "unknown"
    assert advise([], 4).verdict == "unknown"
    growing = rounds_of(*flat, gain=0.02, agreement=0.9)
    no, all_of_it = Interval(0.0, 0.0, 0.0, 9), Interval(1.0, 1.0, 1.0, 9)
    same = replace(growing[-1], round=4, gain=no, agreement=all_of_it)
    assert advise([*growing, same], 4).verdict == "go on", "trained again on the same labels"


def test_the_report_says_all_of_it_in_every_form(context: Context) -> None:
    results = results_of(with_rounds(context), BUNDLE)
    page = render(results, STATUS, "<b>Lungs</b>")
    assert "&lt;b&gt;Lungs" in page and "<b>Lungs" not in page and "8 of 20 images are labelled" in page
    assert "0.600" in page and "0.300 (0.200 to 0.400)" in page
    assert "<html" not in render(results, STATUS, "Lungs", whole=False)
    rows = list(csv.DictReader(io.StringIO(as_csv(results))))
    assert [row["labels"] for row in rows] == ["2", "4"] and float(rows[1]["gain_mean"]) == pytest.approx(0.3)
    assert rows[0]["gain_mean"] == "" and float(rows[1]["dice left lung"]) == pytest.approx(1.9 / 3)
    assert draw(results).startswith(b"\x89PNG")


def test_an_empty_pool_has_a_report_too(context: Context) -> None:
    results = results_of(context, BUNDLE)
    assert "No model has been trained yet" in render(results, STATUS, "Lungs")
    assert draw(results).startswith(b"\x89PNG") and len(as_csv(results).splitlines()) == 1


def test_progress_of_a_training_has_the_time_left() -> None:
    stats = {"epoch": 30, "total_epochs": 120, "start_ts": 1000, "current_time": "0:01:00"}
    work = training_work(stats, 1060.0)
    assert (work["done"], work["total"], work["seconds_left"]) == (30, 120, 180.0)
    assert training_work({**stats, "total_time": "0:01:00"}, 1060.0)["done"] == 0, "that was the one before"
    assert training_work({}, 1060.0)["seconds_left"] is None


def test_background_work_is_shown_while_it_runs_and_when_it_failed() -> None:
    progress = {"step": "embedding", "done": 3, "total": 9, "seconds_left": 2.0, "error": None}
    progress["per_second"] = 3.0
    work = background_work(progress)[0]
    assert (work["name"], work["per_second"], work["seconds_left"]) == ("embedding", 3.0, 2.0)
    assert background_work({**progress, "step": "ready"}) == [] and background_work(None) == []
    assert background_work({**progress, "step": "failed", "error": "no memory"})[0]["error"] == "no memory"
