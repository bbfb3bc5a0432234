"""The search: every plan can be read, every method picks, and the rule decides by both intervals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from benchmarks.experiments.suite import SuiteError
from benchmarks.experiments.truth import truth_order
from benchmarks.phantoms.generate import generate
from benchmarks.search.__main__ import main
from benchmarks.search.cell import cells_of, run_cell
from benchmarks.search.choosing import choose
from benchmarks.search.curves import Curves
from benchmarks.search.data import SearchData, read_data
from benchmarks.search.headroom import headroom_rows
from benchmarks.search.plans import FOLDER, Arm, Phase, Rounds, SearchPlan, plan_of, read_plan
from benchmarks.search.rounds import bald, choose_in_rounds
from benchmarks.search.rule import decide, rule_rows
from benchmarks.search.table import write_page
from infers.encoders import make_encoder
from infers.encoders.slices import axial_slices, embed_slices
from infers.instant.features import CHANNELS, Features
from infers.instant.planes import MAX_COARSE
from strategies.planning.positions import positions_of
from tests.volumes import write_volume
from trainers.instant.labelled import Labelled

SLICES = [f"p{patient:02d}_s{at:03d}" for patient in range(10) for at in range(4)]


@pytest.fixture(scope="module")
def data() -> SearchData:
    """Ten patients with four slices each; the inner two show a structure on their right half."""
    items, random = [], np.random.default_rng(0)
    shows = np.array([name.endswith(("1", "2")) for name in SLICES])
    for shown in shows:
        grids = random.normal(0, 0.1, (1, 16, 16, CHANNELS))
        shares = np.zeros((1, 16, 16, 2), np.float16)
        shares[..., 0] = 1
        if shown:
            grids[:, :, 8:, 0] += 2
            shares[:, :, 8:] = (0, 1)
        items.append(Labelled(Features(grids.astype(np.float16), np.empty(0, np.float32)), shares))
    vectors = random.normal(size=(len(SLICES), 20)) + shows[:, None]
    patients = [name.partition("_")[0] for name in SLICES]
    return SearchData(SLICES, items, vectors, patients, positions_of(SLICES), shows, shows * 128)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_plan_can_be_read_and_its_phases_share_no_seed(path: Path) -> None:
    plan = read_plan(path.stem)
    seeds = [seed for phase in plan.phases.values() for seed in phase.seeds]
    assert len(seeds) == len(set(seeds))
    for phase in plan.phases.values():
        assert not phase.against or phase.against in {arm.name for arm in phase.arms}
    if "decision" in plan.phases:
        assert "random" in {arm.name for arm in plan.phases["development"].arms}
    files = [cell.name(plan) for phase in plan.phases for cell in cells_of(plan, phase)]
    assert all(Path(name).name == name for name in files), "a cell is a file"


def test_a_wrong_plan_is_refused_with_what_is_wrong() -> None:
    content: dict[str, Any] = {
        "data": "d",
        "classes": [1],
        "encoder": "descriptor",
        "budgets": [1],
        "phases": {},
    }
    with pytest.raises(SuiteError, match="best: give `select`, one of .*tail_cover"):
        plan_of({**content, "methods": {"best": {"select": "best"}}}, "p")
    with pytest.raises(SuiteError, match="`uncertainty` one of entropy, likely entropy, bald"):
        Rounds(start=1, size=1, select="entropy", uncertainty="variance")
    with pytest.raises(SuiteError, match="unknown plan 'nothing'; choose one of busi"):
        read_plan("nothing")


def test_truth_draws_the_share_at_each_number_of_labels() -> None:
    shows = np.arange(30) < 12
    order = truth_order(shows, 0.5, 16, seed=1)
    assert len(set(order)) == 16
    assert [int(shows[order[:n]].sum()) for n in (2, 4, 8, 16)] == [1, 2, 4, 8]
    assert shows[truth_order(shows, 1.0, 20, seed=1)].sum() == 12, "then the others"
    assert not np.array_equal(order, truth_order(shows, 0.5, 16, seed=2))


@pytest.mark.parametrize("name", ["random", "cold_start", "typiclust", "foreground_cover", "uherding"])
def test_methods_pick_of_the_pool_one_of_a_patient_at_first(data: SearchData, name: str) -> None:
    pool, held_out = data.divide(0.2, seed=3)
    assert len(held_out) == 8 and len({data.patients[row] for row in held_out}) == 2
    chosen = choose(data, pool, Arm(name, name), [1], budget=3, seed=3)
    assert len({data.patients[row] for row in chosen}) == 3 and set(chosen) <= set(pool)
    assert chosen.tolist() == choose(data, pool, Arm(name, name), [1], budget=3, seed=3).tolist()


@pytest.mark.parametrize(
    "changed",
    [{"features": "position"}, {"features": "none"}, {"features": "other"}, {"positions": False}],
    ids=str,
)
def test_an_ablation_changes_the_order(data: SearchData, changed: dict[str, Any]) -> None:
    pool, _ = data.divide(0.2, seed=3)
    more = replace(data, others={"other": np.random.default_rng(9).normal(size=(len(SLICES), 40))})
    whole, less = (
        choose(more, pool, Arm("a", "foreground_cover", heads=False, **how), [1], 6, seed=3)
        for how in ({}, changed)
    )
    assert len(set(less)) == 6 and less.tolist() != whole.tolist()


def test_positions_of_images_that_have_none_are_refused(data: SearchData) -> None:
    arm = Arm("a", "tail_cover", features="position")
    with pytest.raises(ValueError, match="not slices of volumes"):
        choose(replace(data, position=None), np.arange(8), arm, [1], 2, seed=3)


def test_a_share_of_the_labels_is_that_of_other_images(data: SearchData) -> None:
    seen = data.mislabelled(0.5, seed=1)
    same = [a.shares is b.shares for a, b in zip(data.items, seen.items, strict=True)]
    assert 10 <= sum(same) <= 30
    drawn = [bool((item.shares[..., 1] > 0.5).any()) for item in seen.items]
    assert drawn == seen.shows.tolist() and drawn != data.shows.tolist()
    assert all(a.features is b.features for a, b in zip(data.items, seen.items, strict=True))
    assert data.mislabelled(0.0, seed=1).shows.tolist() == data.shows.tolist()


@pytest.mark.parametrize(
    ("select", "uncertainty"),
    [
        ("random", "entropy"),
        ("foreground_active", "bald"),
        ("clasp_pe", "likely entropy"),
    ],
)
def test_rounds_go_on_after_the_same_cold_start(data: SearchData, select: str, uncertainty: str) -> None:
    pool, _ = data.divide(0.2, seed=3)
    arm = Arm("a", "tail_cover", rounds=Rounds(2, 2, select, uncertainty=uncertainty))
    chosen = choose_in_rounds(data, pool, arm, [1], 4, (3, 3))
    assert set(chosen) <= set(pool) and len(set(chosen)) == 4
    cold = choose(data, pool, Arm("a", "tail_cover"), [1], 2, seed=3)
    assert chosen[:2].tolist() == cold.tolist()
    assert data.patients[chosen[2]] != data.patients[chosen[3]], "one of each patient first"


def test_bald_is_the_disagreement_of_heads(data: SearchData) -> None:
    block = data.coarse(np.arange(4))
    heads = [data.head(rows, [1], seed, False) for seed, rows in enumerate(([1, 2], [0, 3]))]
    assert data.head([1, 2], [1], 0, False) is heads[0], "fitted once"
    assert bald(heads[:1], block) == pytest.approx(0, abs=1e-6), "one head agrees with itself"
    apart = bald(heads, block)
    assert apart[[1, 2]].min() > 0.2 > apart[[0, 3]].max(), "only one knows what the inner slices show"
    assert apart.max() < np.log(2)


def test_a_cell_has_dice_and_what_the_labels_cover(data: SearchData) -> None:
    arm = Arm("ground truth 100 %", truth=1.0, draws=2)
    plan = SearchPlan("p", "d", [1], "descriptor", [1, 2], {"development": Phase([3], [arm])})
    first, second = (run_cell(cell, plan, data) for cell in cells_of(plan, "development"))
    assert first["cell"]["method"] == "ground truth 100 %, draw 1" and first["picks"] != second["picks"]
    assert [point["labels"] for point in first["points"]] == [1, 2]
    assert [point["non_empty"] for point in first["points"]] == [1, 2]
    last = first["points"][-1]
    assert last["positive_dice"] > 0.9 and last["pixels"] == 256 and 0 <= last["mean"] <= last["tail"]
    assert 0 <= last["false_positive"] <= 1 and last["dice"] == pytest.approx(np.mean(last["halves"]))


def test_a_command_runs_missing_cells_and_writes_the_page(tmp_path: Path, own_process: None) -> None:
    generate(tmp_path, count=12, seed=1, size=64)
    content = {
        "data": "phantoms",
        "classes": [1, 2],
        "encoder": "descriptor",
        "budgets": [1, 4],
        "methods": {"random": {"select": "random", "draws": 2}, "tail_cover": {"select": "tail_cover"}},
        "phases": {
            "coverage": {"seeds": [1], "methods": ["random", "tail_cover"]},
            "development": {"seeds": [2], "methods": ["random", "tail_cover"]},
        },
    }
    plan, out, app = tmp_path / "tiny.yaml", tmp_path / "out", typer.Typer()
    plan.write_text(yaml.safe_dump(content))
    app.command()(main)
    line = [f"{plan}", "--studies", f"{tmp_path / 'studies'}", "--labels", f"{tmp_path / 'labels'}"]
    line += ["--out", f"{out}", "--work", f"{tmp_path / 'work'}", "--phase", "coverage"]
    first = CliRunner().invoke(app, [*line, "--phase", "development"])
    assert first.exit_code == 0, first.output
    page = (out / "README.md").read_text()
    assert "## Coverage\n\n1 of 1 seeds." in page and "## Development\n\n1 of 1 seeds." in page
    assert "| tail_cover | 1 | 4.0 |" in page, "each phantom shows lungs"
    assert len((out / "cells.jsonl").read_text().splitlines()) == 6
    kept = (out / "cells.jsonl").stat().st_mtime_ns
    assert CliRunner().invoke(app, line).exit_code == 0
    assert (out / "cells.jsonl").stat().st_mtime_ns == kept
    wrong = CliRunner().invoke(app, [*line, "--phase", "last"])
    assert wrong.exit_code == 2 and "no phase 'last'; choose from: coverage, development" in wrong.output


def test_volumes_are_compared_as_the_app_does_and_measured_over_all_their_slices(
    tmp_path: Path, own_process: None
) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "labels").mkdir()
    for seed, height in enumerate((20, 20, 20, 20, 20, 8)):
        volume, label = (tmp_path / folder / f"v{seed}.nii.gz" for folder in ("studies", "labels"))
        write_volume(volume, seed, (36, 34, height))
        bright = np.asarray(nibabel.nifti1.load(volume).dataobj) > 60
        nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(bright.astype(np.uint8), np.eye(4)), label)
    arm = Arm("uherding", "uherding", parameters={"calibrated": 2})
    plan = SearchPlan("p", "d", [1], "descriptor", [1, 4], {"development": Phase([3], [arm])})
    data = read_data(plan, tmp_path / "studies", tmp_path / "labels", None, tmp_path / "work")
    slices = axial_slices(tmp_path / "studies" / "v2.nii.gz", "mr")
    assert np.allclose(data.vectors[2], embed_slices(make_encoder("descriptor"), [slices])[0])
    assert data.shows.all() and data.pixels[5] == bright.sum() and data.position is None
    block = data.coarse(np.array([0, 5]))
    assert block.images == ["v0", "v5"] and block.rows.tolist() == [0, MAX_COARSE, MAX_COARSE + 8]
    assert block.features.positions.tolist()[-8:] == pytest.approx(np.linspace(0, 1, 8))
    (cell,) = cells_of(plan, "development")
    result = run_cell(cell, plan, data)
    assert len(set(result["picks"])) == 4 and result["points"][-1]["non_empty"] == 4
    assert result["points"][-1]["dice"] > 0.6 and result["points"][-1]["false_positive"] is None


UNKNOWN = {"non_empty": 8, "tail": None, "false_positive": None}


def cells(gains: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return cells of two budgets with these gains in Dice by seed."""
    return [
        {
            "cell": {"arm": arm, "seed": seed},
            "points": [
                {"labels": n, "dice": 0.5 + n / 100 + gain, "halves": [0.5 + gain] * 2, **UNKNOWN}
                for n in (4, 8)
            ],
        }
        for arm, of_seed in gains.items()
        for seed, gain in enumerate(of_seed)
    ]


def curves(gains: dict[str, list[float]]) -> Curves:
    phase = Phase(list(range(8)), [Arm(name, "random") for name in gains])
    plan = SearchPlan("p", "d", [1], "descriptor", [4, 8], {"decision": phase})
    return Curves(plan, phase, cells(gains))


SURE, CHANCE = [0.10, 0.11, 0.12, 0.09, 0.10, 0.11, 0.12, 0.09], [0.3, -0.2, 0.3, -0.2, 0.1, 0.1, -0.1, 0.1]


@pytest.mark.parametrize(
    ("gains", "winner"),
    [
        ({"a": SURE, "b": [2 * value for value in SURE]}, "b"),
        ({"a": SURE, "b": CHANCE}, "a"),
        ({"a": CHANCE, "b": [-value for value in SURE]}, "random"),
        ({"a": [0.1] * 2}, "random"),
    ],
)
def test_the_rule_takes_the_best_that_is_shown_and_else_random(
    gains: dict[str, list[float]], winner: str
) -> None:
    found = curves({"random": [0.0] * 8, "ground truth 100 %": [0.9] * 8, **gains})
    assert decide(found)[0] == winner
    assert list(rule_rows(found))[-1] == f"Winner: **{winner}**."


def test_labels_saved_are_read_off_the_mean_curves() -> None:
    found = curves({"random": [0.0] * 8, "a": [0.02] * 8})
    assert found.needed("a", "random") == "6.0 [6.0, 6.0]"
    assert found.needed("random", "a") == "never [never, never]"


def test_ablations_are_one_table_against_the_method(tmp_path: Path) -> None:
    arms = [Arm(name, "random") for name in ("whole", "less")]
    phase = Phase(list(range(5)), arms, against="whole")
    plan = SearchPlan("p", "d", [1], "descriptor", [4, 8], {"ablations": phase})
    (tmp_path / "cells.jsonl").write_text(
        "".join(
            json.dumps({**cell, "cell": {**cell["cell"], "method": cell["cell"]["arm"], "budget": "8"}})
            + "\n"
            for cell in cells({"whole": [0.0] * 5, "less": [-0.2] * 5})
        )
    )
    write_page(plan, tmp_path)
    rows = (tmp_path / "README.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith("| less ")]
    assert row.startswith("| less | 5 | 0.340 | 0.380 | 0.3600 | -0.2000 [-0.2000, -0.2000] (")
    assert row.endswith(" | 8.0 |  |  |")


def test_headroom_is_the_lead_of_the_best_tenth() -> None:
    arm = Arm("random", "random", draws=20)
    phase = Phase([0], [arm])
    plan = SearchPlan("p", "d", [1], "descriptor", [4, 8], {"headroom": phase})
    points = [cells({"random": [gain]})[0] for gain in [0.1, 0.1] + [0.0] * 18]
    row = list(headroom_rows(plan, phase, points))[-1]
    assert row == "| 8 | 0.590 | 0.0308 | +0.0900 | +0.0900 |"
