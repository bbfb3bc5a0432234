"""Figures: the images they show, the positions of picks on the map, and both files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

from benchmarks.experiments.data import Data
from benchmarks.experiments.suite import SuiteError, read_suite
from benchmarks.phantoms.generate import generate
from benchmarks.pictures import figures
from benchmarks.pictures.overlays import extremes, plane_of
from tests.benchmarks.experiments.test_suite import TINY


def test_the_extremes_go_both_ways_and_the_median_is_named() -> None:
    gains = {"a": 0.3, "b": -0.2, "c": 0.01, "d": 0.0, "e": 0.1}
    shown = list(extremes(gains, ["random", "cold"]))
    assert [image for _, image in shown] == ["a", "b", "c"]
    assert shown[0][0] == "most in favour of cold (+0.300)"
    assert shown[1][0] == "most in favour of random (-0.200)"


def test_names_of_methods_may_have_a_comma() -> None:
    assert figures.names_of("random,random, noisy labels,cold") == ["random", "random, noisy labels", "cold"]


def test_a_volume_is_shown_at_the_slice_with_most_of_the_reference(tmp_path: Path) -> None:
    import nibabel

    values = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    reference = np.zeros((12, 10, 8), np.uint8)
    reference[2:4, 2:4, 1], reference[2:8, 2:8, 5] = 1, 2
    grey, at = plane_of(tmp_path / "a.nii.gz", reference)
    assert at == 5 and grey.shape == (10, 12)


def test_a_method_that_the_suite_does_not_have_is_named() -> None:
    with pytest.raises(SuiteError, match="no cell 'best' at 12 of seed 43"):
        figures.cells_of(read_suite("montgomery_reduced"), ["best"], "12", 43)


@pytest.mark.usefixtures("own_process")
def test_picks_stand_where_their_images_are_and_pictures_are_made(tmp_path: Path) -> None:
    generate(tmp_path / "phantoms", count=16, seed=1, size=64)
    studies, labels, work = (
        tmp_path / "phantoms" / "studies",
        tmp_path / "phantoms" / "labels",
        tmp_path / "work",
    )
    suite = tmp_path / "tiny.yaml"
    suite.write_text(yaml.safe_dump(TINY))
    work.mkdir()
    (cell,) = figures.cells_of(read_suite(str(suite)), ["active"], "4+2", 43)
    with figures.opened(cell, Data(studies, labels), None, work) as run:
        panel = figures.panel_of(run)
        layout = run.context.layout()
        assert layout is not None
        assert {layout.images[row] for row in panel.picks} == set(run.store.get_labeled_images())
    assert len(panel.points) == 12 and set(panel.roles[:4]) <= {"medoid", "farthest"}
    assert panel.roles[4:] == ["most_uncertain", "combined"]
    app = typer.Typer()
    app.command()(figures.main)
    line = [
        f"{suite}",
        "--studies",
        f"{studies}",
        "--labels",
        f"{labels}",
        "--work",
        f"{work}",
        "--seed",
        "43",
    ]
    line += ["--budget", "4", "--methods", "random,cold", "--out", f"{tmp_path / 'out'}"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    for name in ("maps", "overlays"):
        assert np.asarray(Image.open(tmp_path / "out" / f"{name}.png").convert("L")).std() > 5
