"""The heads that the instant head is compared with, and the ways from their grid to the image's."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.instant.comparing import VARIANTS, compare
from benchmarks.instant.comparison_table import comparison
from benchmarks.instant.edges import guided_label
from benchmarks.instant.pool import read_pool
from benchmarks.phantoms.generate import generate
from infers.instant.features import CHANNELS, Features
from infers.instant.planes import Planes
from trainers.instant.labelled import Labelled


def _labelled(seed: int, shows: bool = True) -> Labelled:
    """Return an image of 16 x 16 places, whose first channel is high where its right half is labelled."""
    grids = np.random.default_rng(seed).normal(0, 0.1, (1, 16, 16, CHANNELS))
    shares = np.zeros((1, 16, 16, 2), np.float16)
    shares[..., 0] = 1
    if shows:
        grids[:, :, 8:, 0] += 2
        shares[:, :, 8:] = (0, 1)
    return Labelled(Features(grids.astype(np.float16), np.empty(0, np.float32)), shares)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_head_learns_and_is_reproducible(name: str) -> None:
    items, other = [_labelled(1), _labelled(2)], _labelled(3)
    once, again = (
        np.mean([member(other.features) for member in VARIANTS[name].fit(items, [1], 5)], axis=0)
        for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(once.sum(axis=-1), 1, rtol=1e-5)
    assert (once.argmax(axis=-1) == other.shares.argmax(axis=-1)).mean() > 0.95


@pytest.mark.parametrize("name", VARIANTS)
def test_a_head_that_saw_no_structure_predicts_none(name: str) -> None:
    for member in VARIANTS[name].fit([_labelled(1, shows=False)], [1], 5):
        assert (member(_labelled(2).features).argmax(axis=-1) == 0).all()


def test_guided_label_follows_the_edge() -> None:
    image = np.zeros((128, 128), np.float32)
    image[:, 67:] = 1
    probabilities = np.zeros((1, 16, 16, 2), np.float32)
    probabilities[:, :, :8, 0] = probabilities[:, :, 8:, 1] = 1  # an edge at column 64
    planes = Planes([image], np.empty(0, np.float32), (128, 128))
    label = guided_label(planes, probabilities, [7])
    assert set(np.unique(label)) == {0, 7}
    missed = (label.T == 7) != (image > 0)
    assert missed.sum() < ((planes.label_of(probabilities, [7]).T == 7) != (image > 0)).sum()


def test_a_cell_of_real_images_is_in_the_table(tmp_path: Path) -> None:
    generate(tmp_path, count=10, seed=1, size=96)
    pool = read_pool(tmp_path / "studies", tmp_path / "labels", [1, 2], "descriptor", None, tmp_path / "work")
    cell = {"method": "phantoms, 5 bootstraps", "variant": "5 bootstraps", "budget": "4", "seed": 0}
    result = compare(pool, VARIANTS["5 bootstraps"], 4, seed=0)
    assert result["dice"] > 0.8 and result["failures"] == 0 and result["held_out"] == 2
    assert 0 < result["hd95"] < 20
    assert set(result["spearman"]) == {"entropy", "foreground entropy", "mutual information"}
    page = "\n".join(comparison([{"cell": cell, **result}]))
    assert f"| phantoms, 5 bootstraps | 1 |  |  | {result['dice']:.3f} ± 0.000 |" in page
