"""Pretraining on real MR volumes; runs with --real-data only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundle_configs import Bundle
from pool.datastore import PoolDatastore
from trainers.csal3d.losses import LOSSES
from trainers.csal3d.task import Pretraining

SMALL = {"pretrain_feature_size": 8, "pretrain_window": 2, "pretrain_learning_rate": 0.002}


def test_all_three_losses_fall_on_real_volumes(real_data: Path, tmp_path: Path, long: bool) -> None:
    """Train on the hippocampus set for 40 iterations, 12 in the short form.

    Predicting angles better than chance takes a longer run, which is in `benchmarks/results/csal3d`.
    """
    studies = real_data / "hippocampus" / "images"
    if not studies.is_dir():
        pytest.skip(f"no hippocampus volumes in {real_data}")
    store = PoolDatastore(str(studies), {"anterior": 1, "posterior": 2}, read_only=True)
    request = {"iterations": 40 if long else 12, "device": "cpu"}
    stats, ends = Pretraining(tmp_path, Bundle("volumes", SMALL), 42)(request, store), 10 if long else 5
    for name in LOSSES:
        values = [point[name] for point in stats["curve"]]
        assert np.mean(values[-ends:]) < 0.95 * np.mean(values[:ends]), name
