"""Suites: errors name the key, cells repeat to the bit, and statistics match those computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

from benchmarks import run
from benchmarks.experiments import label_sets, tables
from benchmarks.experiments.data import Data
from benchmarks.experiments.empty_picks import rows
from benchmarks.experiments.headroom import headroom_rows
from benchmarks.experiments.jobs import unfinished
from benchmarks.experiments.results import read_cells
from benchmarks.experiments.stage_metrics import dice_of_all, painted_empty, worst_tenth
from benchmarks.experiments.statistics import (
    Difference,
    Outcome,
    area,
    labels_needed,
    paired,
)
from benchmarks.experiments.suite import FOLDER, Claim, SuiteError, read_suite
from benchmarks.experiments.summary import rank_rows
from benchmarks.phantoms.generate import generate

TINY: dict[str, Any] = {
    "app": "cxr_lungs",
    "data": "phantoms",
    "protocol": "a test",
    "overrides": {"image_size": 32, "epochs": 1, "channels": [4, 8]},
    "encoder": "descriptor",
    "test_split": 0.25,
    "seeds": [43],
    "cells": [
        {"budgets": ["4"], "methods": {"random": {"first": "random"}, "cold": {"first": "cold_start"}}},
        {"budgets": ["2"], "methods": {"cover": {"first": "foreground_cover"}, "half shown": {"truth": 0.5}}},
        {"budgets": ["4+2"], "methods": {"active": {"first": "cold_start", "then": "active"}}},
    ],
    "claims": [{"text": "cold beats random", "better": "cold", "than": "random", "budgets": [4]}],
}


def written(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return str(path)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_suite_can_be_read_and_compares_with_methods_that_it_has(path: Path) -> None:
    suite = read_suite(path.stem)
    assert set(suite.compare) <= {cell.row for cell in suite.cells}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "'epoch' is unknown or missing"),
        ({"cells": [{"budgets": [4], "methods": {"a": {"first": "best"}}}]}, "unknown strategy 'best'"),
        (
            {"cells": [{"budgets": [4], "methods": {"a": {"first": "random", "settings": {"alfa": 1}}}}]},
            "'alfa'",
        ),
        ({"seeds": [1, 1]}, "two cells have the same name"),
        (
            {"cells": [{"budgets": [4], "methods": {"a": {"first": "random", "nois": 1}}}]},
            "unknown key 'nois'",
        ),
        ({"cells": [{"budgets": [4], "methods": {"a": {"first": "random"}}}]}, "no cells"),
        ({"cells": [{"budgets": [4], "methods": {"a": {"truth": 2}}}]}, "above 0 and up to 1"),
        ({"claims": [{**TINY["claims"][0], "metric": "iou"}]}, "unknown metric 'iou'"),
    ],
)
def test_a_wrong_suite_is_refused_with_the_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        read_suite(written(tmp_path, **changes))
    with pytest.raises(SuiteError, match="montgomery"):
        read_suite("nothing")


def test_what_was_worked_out_of_other_labels_is_not_used(tmp_path: Path) -> None:
    generate(tmp_path, count=8, seed=1, size=64)
    before = Data(tmp_path / "studies", tmp_path / "labels").digest
    assert before == Data(tmp_path / "studies", tmp_path / "labels").digest
    mask = next((tmp_path / "labels").iterdir())
    Image.open(mask).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(mask)
    assert before != Data(tmp_path / "studies", tmp_path / "labels").digest


def test_cells_run_once_repeat_to_the_bit_and_make_a_table(tmp_path: Path) -> None:
    phantoms = tmp_path / "phantoms"
    generate(phantoms, count=16, seed=1, size=64)
    suite, out = written(tmp_path), tmp_path / "out"
    line = [suite, "--studies", f"{phantoms / 'studies'}", "--labels", f"{phantoms / 'labels'}"]
    line += ["--out", f"{out}"]
    first = CliRunner().invoke(_app(run.main), [*line, "--work", f"{tmp_path / 'work'}"])
    assert first.exit_code == 0, first.output
    finished = read_cells(out)
    assert list(finished) == ["active_4+2_43", "cold_4_43", "cover_2_43", "half-shown_2_43", "random_4_43"]
    assert not any((out / "cells").iterdir()), "all are packed"
    active, cold = finished["active_4+2_43"]["stages"], finished["cold_4_43"]["stages"]
    assert [stage["labels"] for stage in active] == [4, 6]
    assert active[0]["images"] == cold[0]["images"], "the same labels are the same model"
    assert [pick["role"] for pick in active[1]["picks"]] == ["most_uncertain", "combined"]
    assert len(cold[0]["images"]) == 4, "a quarter of 16 is held out"
    cover = finished["cover_2_43"]["stages"][0]["picks"]
    assert [pick["role"] for pick in cover] == ["typical", "likely"], "planned anew after the first label"
    by_truth = finished["half-shown_2_43"]["stages"][0]
    assert len({pick["image"] for pick in by_truth["picks"]}) == 2 and by_truth["pixels"] > 0

    picked = {pick["image"] for stage in active for pick in stage["picks"]}
    assert len(picked) == 6 and not picked & set(cold[0]["images"])
    before = packed_lines(out)
    (out / "cells.jsonl").write_text("".join(before[1:]))
    again = CliRunner().invoke(_app(run.main), [*line, "--work", f"{tmp_path / 'other'}"])
    assert again.exit_code == 0, again.output
    stages = read_cells(out)["active_4+2_43"]["stages"]
    assert [_numbers(stage) for stage in stages] == [_numbers(stage) for stage in active]
    assert packed_lines(out)[1:] == before[1:], "they did not run again: `seconds` is the same"
    tabulated = CliRunner().invoke(_app(tables.main), [suite, "--out", f"{out}"])
    page = (out / "README.md").read_text()
    assert tabulated.exit_code == 0 and "5 of 5 cells have run" in page and "| too few seeds |" in page
    assert f"{cold[0]['dice']:.4f}" in page and (out / "curves.png").exists()

    (out / "cells.jsonl").write_text("".join(before[:1] + before[2:]))
    (phantoms / "labels" / "phantom_003.png").write_bytes(
        (phantoms / "labels" / "phantom_004.png").read_bytes()
    )
    other = CliRunner().invoke(_app(run.main), [*line, "--work", f"{tmp_path / 'work'}"])
    assert other.exit_code == 2 and "belong to other images or labels (16 images)" in other.output
    assert "cold_4_43" not in read_cells(out)


def packed_lines(out: Path) -> list[str]:
    return (out / "cells.jsonl").read_text().splitlines(keepends=True)


def _numbers(stage: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stage.items() if name != "seconds"}


def _app(command: Any) -> Any:
    app = typer.Typer()
    app.command()(command)
    return app


def outcome_of(
    folder: Path, dice: dict[str, list[float]], hd95: dict[str, list[float]] | None = None
) -> Outcome:
    """Write cells of one budget with the given Dice (and HD95) per seed; return their outcome."""
    methods = {name: {"first": "random"} for name in dice}
    suite = read_suite(
        written(
            folder,
            seeds=[1, 2, 3, 4, 5],
            cells=[{"budgets": ["4"], "methods": methods}],
            claims=[{"text": "c", "better": "cold", "than": "random", "budgets": ["4"]}],
        )
    )
    (folder / "cells").mkdir()
    for cell in suite.cells:
        value = dict(zip(range(1, 6), dice[cell.method], strict=False)).get(cell.seed)
        if value is not None:
            distance = hd95[cell.method][cell.seed - 1] if hd95 else 1.0
            stage = {"labels": 4, "dice": value, "hd95": distance, "failures": 0}
            content = {"cell": cell.as_json(), "stages": [stage]}
            (folder / "cells" / f"{cell.name}.json").write_text(json.dumps(content))
    return Outcome(suite, folder)


@pytest.mark.parametrize(
    ("cold", "verdict"),
    [
        ([0.9, 0.8, 0.7, 0.8, 0.9], "confirmed"),
        ([0.5, 0.4, 0.3, 0.2, 0.1], "contradicted"),
        ([0.9, 0.4, 0.5, 0.2, 0.3], "not confirmed"),
        ([0.6, 0.5, 0.41, 0.4, 0.4], "likely"),
        ([0.6, 0.5, 0.39, 0.2, 0.0], "unlikely"),
        ([0.9, 0.8, 0.7, 0.8], "too few seeds"),
        ([], "not measured"),
    ],
)
def test_claims_are_answered_by_the_interval(tmp_path: Path, cold: list[float], verdict: str) -> None:
    outcome = outcome_of(tmp_path, {"random": [0.6, 0.5, 0.4, 0.3, 0.2], "cold": cold})
    assert outcome.answer(outcome.suite.claims[0])[0] == verdict
    assert len(outcome.missing) == 5 - len(cold)


@pytest.mark.parametrize(
    ("metric", "mean", "verdict"), [("hd95", 1.0, "confirmed"), ("spread", 0.2, "not confirmed")]
)
def test_a_claim_may_be_about_distance_or_spread(
    tmp_path: Path, metric: str, mean: float, verdict: str
) -> None:
    outcome = outcome_of(
        tmp_path,
        {"random": [0.3, 0.5, 0.7, 0.5, 0.5], "cold": [0.5] * 5},
        {"random": [4.0, 4.0, 5.0, 3.0, 4.0], "cold": [3.0, 3.0, 4.0, 2.0, 3.0]},
    )
    claim = Claim("c", "cold", "random", ["4"], metric)
    answer, difference = outcome.answer(claim)
    assert difference is not None
    by_hand = float(np.std([0.3, 0.5, 0.7, 0.5, 0.5], ddof=1)) if metric == "spread" else mean
    assert difference.mean == pytest.approx(by_hand)
    assert difference.low is not None and difference.low >= 0
    # nobody knows Student's interval of a spread; that of resamples without the two odd seeds ends at zero
    assert answer == verdict and (difference.low > 0) == (metric == "hd95")


def test_the_worst_tenth_is_the_mean_of_the_lowest_images() -> None:
    images = {f"i{n:02d}": {"dice": [n / 20], "present": [1.0]} for n in range(11)}
    assert worst_tenth({"images": images, "metric": "class_dice"}) == pytest.approx((0 + 1 / 20) / 2)


def test_methods_are_ranked_over_data_sets_by_what_they_gain() -> None:
    cells = {("random", "4", 1): 0.5, ("a", "4", 1): 0.6, ("b", "4", 1): 0.7, ("only here", "4", 1): 0.9}
    cells |= {("random", "9", 1): 0.5, ("a", "9", 1): 0.9}  # which b has not
    other = {("random", "8", 1): 0.5, ("a", "8", 1): 0.4, ("b", "8", 1): 0.6, ("b", "4+4", 1): 0.1}
    drawn = {("random", "8", 1): 0.9, ("a", "8", 1): 0.1, ("b", "8", 1): 0.1}
    data = {"one (p)": cells, "two (p)": other, "phantoms, x (p)": drawn}
    ranked = [row.rpartition(" | ")[0] + " |" for row in rank_rows(data, active=False)]
    assert ranked[0] == "| method | mean rank on real data | one | two |"
    assert ranked[2:] == [
        "| b | 1.00 | 1 (+0.2000) | 1 (+0.1000) |",
        "| a | 2.50 | 2 (+0.1000) | 3 (-0.1000) |",
        "| random | 2.50 | 3 (+0.0000) | 2 (+0.0000) |",
    ]
    assert list(rank_rows({"two (p)": other}, active=True)) == [], "nothing to compare with"


def test_empty_picks_are_counted_in_the_last_stage(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, {"random": [0.6, 0.5], "cold": []})
    for cell in outcome.cells(("random", "4")):
        cell["stages"][-1]["picks"] = [{"image": "a"}, {"image": "b"}]
    assert rows(outcome, {"a": True, "b": False}) == ["| 4 | random | 0.50 of 4 |"]


def test_rows_of_the_same_images_are_named(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, {"random": [0.6, 0.5], "cold": [0.6, 0.5], "active": [0.6, 0.5]})
    for method, _ in outcome.rows:
        for seed, cell in enumerate(outcome.cells((method, "4"))):
            picks = ["b", "a"] if method == "cold" else ["a", "b"]
            if method == "active" and seed == 1:
                picks = ["a", "c"]
            cell["stages"][-1]["picks"] = [{"image": image} for image in picks]
    assert outcome.alike() == [("4", ["cold", "random"])]


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, {"random": [0.6, 0.5, 0.4], "cold": [0.7, 0.8]})
    difference = outcome.difference(("cold", "4"), ("random", "4"))
    assert difference is not None and difference.seeds == 2 and difference.mean == pytest.approx(0.2)
    assert paired([]) is None and paired([0.1]) == Difference(0.1, None, None, 1)


def test_chance_alone_is_rarely_certain() -> None:
    rng = np.random.default_rng(0)
    differences = [paired(rng.normal(size=5)) for _ in range(300)]
    assert all(one is not None and one.low is not None and one.high is not None for one in differences)
    left_out = [one.low > 0 or one.high < 0 for one in differences]  # type: ignore[union-attr,operator]
    assert 0.1 < np.mean(left_out) < 0.24, "of five values the bootstrap's interval is too narrow"
    assert np.mean([one.certain for one in differences]) < 0.08  # type: ignore[union-attr]


def test_a_cell_of_another_configuration_is_not_taken_for_this_one(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, {"random": [0.6, 0.5, 0.4, 0.3, 0.2], "cold": []})
    assert [cell.method for cell in unfinished(outcome.suite.cells, tmp_path)] == ["cold"] * 5
    cells = [{"budgets": ["4"], "methods": {"random": {"first": "alps"}}}]
    other = read_suite(written(tmp_path, seeds=[1], cells=cells, claims=[]))
    with pytest.raises(SuiteError, match="another configuration"):
        unfinished(other.cells, tmp_path)


def test_draws_of_a_method_are_averaged_and_differ_in_their_picks_alone(tmp_path: Path) -> None:
    cells = [
        {"budgets": ["4"], "methods": {"random": {"first": "random", "draws": 3}, "cold": {"truth": 0.5}}}
    ]
    suite = read_suite(written(tmp_path, cells=cells))
    draws = [cell for cell in suite.cells if cell.row == "random"]
    assert [cell.method for cell in draws] == ["random", "random, draw 2", "random, draw 3"]
    assert [cell.settings.get("seed") for cell in draws] == [None, 100_043, 200_043]
    assert {cell.seed for cell in draws} == {43} and "truth" not in draws[0].as_json()
    (tmp_path / "cells").mkdir()
    for cell, dice in zip(draws, (0.4, 0.6, 0.8), strict=True):
        stage = {"labels": 4, "dice": dice, "hd95": 1.0, "failures": 0}
        content = {"cell": cell.as_json(), "stages": [stage]}
        (tmp_path / "cells" / f"{cell.name}.json").write_text(json.dumps(content))
    outcome = Outcome(suite, tmp_path)
    assert outcome.values(("random", "4"), "dice") == {43: pytest.approx(0.6)}
    assert len(outcome.cells(("random", "4"))) == 3
    assert set(outcome.rows) == {("random", "4"), ("cold", "4")}


def test_many_draws_have_a_headroom_of_which_chance_does_not_last(tmp_path: Path) -> None:
    cells = [{"budgets": ["4"], "methods": {"random": {"first": "random", "draws": 20}}}]
    suite = read_suite(written(tmp_path, cells=cells, claims=[]))
    (tmp_path / "cells").mkdir()
    gains = [*[0.0] * 18, 0.1, 0.1]
    for cell, gain in zip(suite.cells, gains, strict=True):
        images = {
            name: {"dice": [0.5 + gain * (name in "ab")], "present": [1.0], "one_empty": [0]}
            for name in "abcd"
        }  # better on the first half of the held-out images only
        stage = {"labels": 4, "dice": 0.5 + gain / 2, "hd95": 1.0, "failures": 0, "metric": "class_dice"}
        content = {"cell": cell.as_json(), "stages": [{**stage, "images": images}]}
        (tmp_path / "cells" / f"{cell.name}.json").write_text(json.dumps(content))
    row = list(headroom_rows(Outcome(suite, tmp_path)))[-2]
    assert row == "| 4 | 0.505 | 0.0154 | +0.0450 | -0.0050 |"


def test_equal_label_sets_of_a_split_count_once() -> None:
    images = {name: {"dice": [0.5], "present": [1.0]} for name in "ab"}
    shared = {"labels": 1, "metric": "class_dice", "images": images}
    cells = [
        {"cell": {"seed": 1}, "stages": [{**shared, "picks": [{"image": name}], "dice": dice}]}
        for name, dice in zip("abcdea", (0.4, 0.5, 0.5, 0.5, 0.6, 0.6), strict=True)
    ]
    assert list(label_sets.rows(cells))[2:] == ["| 1 | 1 | 5 to 5 | 0.540 | 0.0548 | +0.0600 | +0.0000 |"]
    assert len(list(label_sets.rows(cells[:4]))) == 2, "too few sets"


def test_painting_on_empty_images_is_counted() -> None:
    images = {
        "empty, painted": {"present": [0.0, 0.0], "one_empty": [1, 0]},
        "empty, clean": {"present": [0.0, 0.0], "one_empty": [0, 0]},
        "one structure": {"present": [1.0, 0.0], "one_empty": [0, 1]},
    }
    assert painted_empty({"images": images}) == 0.5
    assert painted_empty({"images": {"one structure": images["one structure"]}}) is None
    dice = {"empty, painted": [0.0, 1.0], "empty, clean": [1.0, 1.0], "one structure": [0.6, 0.0]}
    scored = {name: {**images[name], "dice": values} for name, values in dice.items()}
    assert dice_of_all({"images": scored, "metric": "image_dice"}) == pytest.approx(3.6 / 6)
    assert dice_of_all({"images": scored, "metric": "class_dice"}) is None, "the stage's Dice has it"


def test_labels_saved_and_area() -> None:
    assert labels_needed([8, 12, 16], [0.5, 0.7, 0.9], 0.8) == pytest.approx(14.0)
    assert labels_needed([8, 12], [0.5, 0.7], 0.4) == 8.0 and labels_needed([8, 12], [0.5, 0.7], 0.8) is None
    assert area([8, 12, 16], [0.5, 0.7, 0.9]) == pytest.approx(0.7) and area([8], [0.5]) is None
    assert area([0, 10], np.array([1.0, 1.0]).tolist()) == 1.0
