"""The whole way from files: read, features, cache, fit, segment, with the encoder that needs no weights."""

from pathlib import Path

import numpy as np

from benchmarks.instant.pool import read_pool
from benchmarks.phantoms.generate import generate
from infers.instant.head import Head
from infers.instant.judging import segment
from trainers.instant.fit import fit

CLASSES = [1, 2]


def test_four_labelled_files_segment_the_others(tmp_path: Path) -> None:
    generate(tmp_path, count=10, seed=1, size=96)
    folders = tmp_path / "studies", tmp_path / "labels"
    pool = read_pool(*folders, CLASSES, "descriptor", None, tmp_path / "work")
    again = read_pool(*folders, CLASSES, "descriptor", None, tmp_path / "work")  # from the cache
    assert again.reduction.key == pool.reduction.key
    for one, other in zip(pool.cases, again.cases, strict=True):
        np.testing.assert_array_equal(one.labelled.features.grids, other.labelled.features.grids)
    head = fit([case.labelled for case in pool.cases[:4]], pool.reduction.key, CLASSES)
    stored = Head.from_bytes(head.to_bytes())
    dice = []
    for case in pool.cases[4:]:
        found = case.planes.label_of(segment(stored, case.labelled.features), CLASSES)
        for value in CLASSES:
            both = (found == value) & (case.label == value)
            dice.append(2 * both.sum() / ((found == value).sum() + (case.label == value).sum()))
    assert np.mean(dice) > 0.8
    assert head.dice is not None and abs(head.dice - np.mean(dice)) < 0.15
