"""Crops: choice, position and reproducibility."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.csal3d.data import Crops, batches, generator

SHAPES = {"large": (40, 36, 33), "thin": (40, 32, 10), "exact": (32, 32, 32)}


def read(data: dict[str, str]) -> dict[str, torch.Tensor]:
    """Return a volume whose voxels are numbered from 1."""
    shape = SHAPES[Path(data["image"]).stem]
    return {"image": torch.arange(1, 1 + np.prod(shape), dtype=torch.float32).reshape(1, *shape)}


def crops(seed: int = 42) -> Crops:
    return Crops(list(SHAPES), lambda image: f"/studies/{image}.nii", read, 32, seed)


def test_each_epoch_shows_every_volume_once_in_its_own_order() -> None:
    rows = [[crops()[k][1] for k in range(3 * epoch, 3 * epoch + 3)] for epoch in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in rows)
    assert len({tuple(epoch) for epoch in rows}) > 1


def test_a_crop_is_a_cube_of_its_volume_and_what_is_too_thin_is_padded() -> None:
    places = set()
    for k in range(30):
        crop, row = crops()[k]
        assert crop.shape == (1, 32, 32, 32)
        name = list(SHAPES)[row]
        volume = read({"image": f"{name}.nii"})["image"]
        if name == "thin":
            assert (
                (crop[..., :11] == 0).all() and (crop[..., 21:] == 0).all() and (crop[..., 11:21] > 0).all()
            )
        elif name == "exact":
            assert torch.equal(crop, volume)
        else:
            w, h, d = np.unravel_index(int(crop[0, 0, 0, 0]) - 1, SHAPES["large"])
            assert torch.equal(crop, volume[:, w : w + 32, h : h + 32, d : d + 32])
            places.add((w, h, d))
    assert len(places) > 5, "at random places"


def test_any_sample_can_be_found_again() -> None:
    one, two = crops(), crops()
    for k in (7, 2, 7, 0):
        assert torch.equal(one[k][0], two[k][0])
    assert any(not torch.equal(one[k][0], crops(seed=1)[k][0]) for k in range(6))
    assert torch.equal(*(torch.rand(3, generator=generator(42, 5)) for _ in range(2)))
    assert not torch.equal(*(torch.rand(3, generator=generator(42, i)) for i in (5, 6)))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_from_any_iteration_whoever_reads(workers: int) -> None:
    state = torch.get_rng_state()
    found = list(batches(crops(), 2, 1, 3, workers))
    assert torch.equal(torch.get_rng_state(), state), "the trainer's random numbers are its own"
    assert len(found) == 2
    for (batch, rows), first in zip(found, (2, 4), strict=True):
        for n in range(2):
            crop, row = crops()[first + n]
            assert torch.equal(batch[n], crop) and rows[n] == row
