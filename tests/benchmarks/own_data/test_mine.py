"""`benchmarks.run mine`: errors in the data are named, and advice follows only from intervals."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from benchmarks.experiments.results import read_cells
from benchmarks.experiments.statistics import Outcome
from benchmarks.own_data import mine
from benchmarks.own_data.advice import Rows, advise
from benchmarks.own_data.data import DataError, Own, check_groups, look, write_masks
from benchmarks.own_data.report import Facts, conf
from benchmarks.phantoms.generate import generate

ENCODERS = ["descriptor", "transformers:some_model"]
PAPER, OTHER = "alpha 0.3 (descriptor)", "typiclust (some_model)"


@pytest.fixture
def pool(tmp_path: Path) -> tuple[Path, Path]:
    """Ten phantoms whose masks have the values 7 and 255."""
    generate(tmp_path / "phantoms", count=10, seed=1, size=64)
    studies, labels = tmp_path / "phantoms" / "studies", tmp_path / "phantoms" / "labels"
    for file in labels.iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.choose(mask, [0, 7, 255]).astype(np.uint8)).save(file)
    return studies, labels


def test_masks_of_any_values_become_those_of_training(pool: tuple[Path, Path], tmp_path: Path) -> None:
    own = look(*pool, {"right lung": 7})
    assert own.structures == {"right lung": 7, "structure 255": 255} and own.app == "cxr_lungs"
    assert own.labels == {"right lung": 1, "structure 255": 2} and own.overrides == {}
    write_masks(own, tmp_path / "masks")
    for file in (tmp_path / "masks").iterdir():
        before = np.asarray(Image.open(pool[1] / file.name))
        assert np.array_equal(np.asarray(Image.open(file)), np.searchsorted([0, 7, 255], before))
    with pytest.raises(DataError, match="choose another --out"):
        write_masks(own, pool[1])


def test_dice_leaves_out_structures_that_some_masks_lack(pool: tuple[Path, Path]) -> None:
    file = next(pool[1].iterdir())
    mask = np.asarray(Image.open(file))
    Image.fromarray(np.where(mask == 7, 0, mask)).save(file)
    assert look(*pool, {}).app == "brain_mri"


def test_what_is_wrong_with_the_data_is_named(pool: tuple[Path, Path]) -> None:
    studies, labels = pool
    with pytest.raises(DataError, match="--label heart=3: no mask has that value"):
        look(studies, labels, {"heart": 3})
    (studies / "phantom_004.png").write_bytes(b"nothing")
    Image.fromarray(np.arange(64 * 64).reshape(64, 64).astype(np.uint8)).save(labels / "phantom_005.png")
    with pytest.raises(DataError, match=r"(?s)2 files cannot be used.*phantom_004.png.*phantom_005.png"):
        look(studies, labels, {})
    (labels / "phantom_003.png").unlink()
    with pytest.raises(DataError, match="1 of 10 images have no mask in .*: phantom_003.png"):
        look(studies, labels, {})
    nibabel.save(
        nibabel.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)), studies / "phantom_003.nii.gz"
    )
    with pytest.raises(DataError, match="two files for phantom_003"):
        look(studies, labels, {})
    (studies / "phantom_003.png").unlink()
    Image.new("L", (64, 64)).save(labels / "phantom_003.png")
    with pytest.raises(DataError, match="volumes are: phantom_003.nii.gz"):
        look(studies, labels, {})


def test_volumes_get_larger_voxels_where_they_are_long(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for at in range(2):
        scan = np.random.default_rng(at).normal(-900, 40, (192, 16, 8)).astype(np.float32)
        for folder, array in (("images", scan), ("labels", (scan > -900).astype(np.uint8))):
            nibabel.save(
                nibabel.Nifti1Image(array, np.diag([1, 1, 5, 1])), tmp_path / folder / f"v{at}.nii.gz"
            )
    own = look(tmp_path / "images", tmp_path / "labels", {})
    assert own.app == "volumes"
    assert own.overrides == {"in_channels": 1, "modality_rule": "ct", "spacing": [2.0, 2.0, 5.0]}


def own_of(count: int) -> Own:
    images = {f"p{at // 2:02d}_{at}": Path(f"p{at // 2:02d}_{at}.png") for at in range(count)}
    return Own(images, images, {"structure 1": 1}, True, False, {})


def test_too_few_images_and_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="8 labelled images are too few.*at least 10 images"):
        mine.bounded(own_of(8), 12, [43], "")
    assert mine.bounded(own_of(20), 12, [43, 44], "") == 8, "half of a pool of 16"
    for groups, message in ((r"^(q\d+)_", "has no group for p00_0"), ("(", "nor a regular expression")):
        with pytest.raises(DataError, match=message):
            check_groups(own_of(20), groups)
    with pytest.raises(DataError, match="makes 4 groups"):
        check_groups(own_of(8), r"^(p\d+)_")
    check_groups(own_of(20), r"^(p\d+)_")


@pytest.mark.parametrize("pair", ["lung", "=3", "lung=x"])
def test_a_label_is_a_name_and_a_value(pair: str) -> None:
    assert mine.named(["left lung=2"]) == {"left lung": 2}
    with pytest.raises(DataError, match="NAME=VALUE"):
        mine.named([pair])


def test_an_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert mine.encoders_of(None, []) == ["descriptor"] and mine.encoders_of(tmp_path, []) == ["descriptor"]
    for name in ("csal3d", "transformers:nothing", "best"):
        with pytest.raises(DataError, match=f"--encoder {name}"):
            mine.encoders_of(tmp_path, [name])


def rows_of(folder: Path, gains: dict[str, float], seeds: int = 5) -> Rows:
    """Write finished cells of both encoders: random's Dice grows with labels, others exceed it by `gains`."""
    more = {"seeds": list(range(seeds)), "groups": "", "quick": False, "overrides": {"epochs": 1}}
    suite = mine.plan(own_of(40), "test", ENCODERS, 12, more)
    (folder / "cells").mkdir(parents=True)
    random = np.random.default_rng(0)
    for cell in suite.cells:
        base, stages, total = 0.5 + 0.02 * cell.seed, [], 0
        for step in cell.steps:
            total += step
            noise = float(random.uniform(-0.01, 0.01))
            dice = base + 0.01 * total + gains.get(cell.method, 0.0) + noise
            stages.append({"labels": total, "dice": dice, "hd95": 1.0, "failures": 0, "seconds": 3.0})
        content = {"cell": cell.as_json(), "stages": stages}
        (folder / "cells" / f"{cell.name}.json").write_text(json.dumps(content))
    return Rows(Outcome(suite, folder), 12)


@pytest.mark.parametrize(
    ("gains", "headline"),
    [
        ({PAPER: 0.005}, "Nothing is shown to beat random here: take images at random."),
        ({PAPER: -0.2}, "Nothing is shown to beat random here: take images at random."),
        ({PAPER: 0.2}, f"Use {PAPER}."),
        ({OTHER: 0.2}, f"Use {OTHER}."),
        ({OTHER: 0.3, PAPER: 0.1}, f"Use {OTHER}."),
    ],
)
def test_advice_follows_from_intervals(tmp_path: Path, gains: dict[str, float], headline: str) -> None:
    rows = rows_of(tmp_path, gains)
    advice = advise(rows)
    assert advice.headline == headline
    assert any(line.startswith("From 6 to 12 labels Dice still grew by +0.0") for line in advice.why)
    if gains.get(OTHER):
        assert (
            conf(rows, advice.key, Facts(own_of(40), ENCODERS, 12, "", Path("w"), ""))[0]
            == "--conf encoder transformers:w/some_model"
        )
        assert rows.needed(advice.key) == 6.0


def test_where_masks_lack_structures_foreground_aware_entropy_is_tried(tmp_path: Path) -> None:
    more = {"seeds": [0], "groups": "", "quick": False, "overrides": {"epochs": 1}}
    assert "foreground_active" not in {
        c.then for c in mine.plan(own_of(40), "test", ENCODERS, 12, more).cells
    }
    own = replace(own_of(40), everywhere=False)
    suite = mine.plan(own, "test", ["descriptor"], 12, more)
    key = ("foreground-aware", "6+6")
    rows = Rows(Outcome(suite, tmp_path), 12)
    options = conf(rows, key, Facts(own, ["descriptor"], 12, "", None, ""))
    assert "--conf active_method foreground_active" in options and "--conf alpha 0.3" in options
    assert "--conf cold_start_method typiclust" in options, "which was ahead on slices"


def test_a_cold_start_of_two_labels_is_measured_but_not_recommended(tmp_path: Path) -> None:
    more = {"seeds": [0], "groups": "", "quick": False, "overrides": {"epochs": 1}}
    own = own_of(10)
    rows = Rows(Outcome(mine.plan(own, "test", ["descriptor"], 4, more), tmp_path), 4)
    options = conf(rows, ("alpha 0.3", "2+2"), Facts(own, ["descriptor"], 4, "", None, ""))
    assert not any("cold_start_budget" in option for option in options)
    assert "--conf cold_start_budget 4" in conf(rows, ("typiclust", "4"), Facts(own, [], 4, "", None, ""))


def test_few_repetitions_recommend_nothing(tmp_path: Path) -> None:
    advice = advise(rows_of(tmp_path, {OTHER: 0.3}, seeds=4))
    assert advice.headline == "Nothing can be recommended yet: use the default."
    assert not advice.is_measured, "so that no setting is named either"


def test_a_cold_start_of_two_is_never_recommended(tmp_path: Path) -> None:
    more = {"seeds": [0], "groups": "", "quick": False, "overrides": {"epochs": 1}}
    suite = mine.plan(own_of(40), "test", ["descriptor"], 4, more)
    rows, facts = Rows(Outcome(suite, tmp_path), 4), Facts(own_of(40), ["descriptor"], 4, "", None, "")
    assert any(cell.steps[0] == 2 for cell in suite.cells)
    for key, cell in rows.cell.items():
        named = [option for option in conf(rows, key, facts) if "cold_start_budget" in option]
        assert named == ([f"--conf cold_start_budget {cell.steps[0]}"] if cell.steps[0] >= 4 else [])


def test_encoders_are_compared_over_all_methods(tmp_path: Path) -> None:
    names = ("kmeans_to_budget", "cold_start", "typiclust", "alpha 0.3", "entropy", "adaptive alpha")
    rows = rows_of(tmp_path, {f"{name} (some_model)": 0.1 for name in names})
    assert rows.encoders()["transformers:some_model"].mean == pytest.approx(0.1, abs=0.02)
    assert any("it is better here" in line for line in advise(rows).why)


def test_a_report_is_made_and_the_same_command_runs_nothing_again(
    pool: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    line = [
        "--studies",
        f"{pool[0]}",
        "--labels",
        f"{pool[1]}",
        "--out",
        f"{out}",
        "--budget",
        "4",
        "--quick",
    ]
    line += ["--seeds", "1", "--epochs", "1", "--image-size", "32"]
    monkeypatch.setattr(sys, "argv", ["run", "mine", *line])
    first = CliRunner().invoke(mine.app, line)
    assert first.exit_code == 0, first.output
    assert "6 cells are left, about" in first.output
    html, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert "Nothing can be recommended yet" in html and "Nothing can be recommended yet" in text
    assert "http" not in html and 'src="data:image/png;base64,' in html
    assert "benchmarks.run mine --studies" in text and "2 images are held out" in text
    before = (out / "cells.jsonl").stat().st_mtime_ns
    assert len(read_cells(out)) == 7 and not any((out / "cells").iterdir())
    again = CliRunner().invoke(mine.app, line)
    assert again.exit_code == 0, again.output
    assert (out / "cells.jsonl").stat().st_mtime_ns == before and not any((out / "cells").iterdir())
    with FileLock(out / "running.lock"):
        beside = CliRunner().invoke(mine.app, line)
    assert beside.exit_code == 2 and "another command is running" in beside.output
    Image.new("L", (64, 64)).save(pool[1] / "phantom_001.png")
    other = CliRunner().invoke(mine.app, line)
    assert other.exit_code == 2 and "another configuration" in other.output
