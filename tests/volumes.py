"""Small volumes for tests."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch


def write_volume(path: Path, seed: int, shape: tuple[int, int, int] = (36, 34, 20)) -> None:
    """A smooth random volume as NIfTI, of 1 mm."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 1, 5, 5, 5), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0, 0].numpy()
    nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(100 * smooth, np.eye(4)), path)
