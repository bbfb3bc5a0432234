"""Views, rotations and masks of a cubic crop: the nine observations of CSAL-3D (Zhu et al., section 2).

A view looks along one axis of the volume, which becomes the last axis, so the network sees axial, coronal and
sagittal slices alike. A rotation turns the crop about the view's axis by quarter turns. Both only move
voxels, so undoing them is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

VIEWS = (2, 1, 0)  # axial, coronal, sagittal: the viewing axis among (W, H, D)
ROTATIONS = 3  # of each view
ANGLES = 4  # 0, 90, 180, 270 degrees; a rotation is given as a number of quarter turns


def turn(x: torch.Tensor, view: int, quarters: int) -> torch.Tensor:
    """Show `x` (..., S, S, S) in one of VIEWS (0..2), turned by quarter turns about the view's axis."""
    return torch.rot90(x.movedim(VIEWS[view] - 3, -1), quarters, (-3, -2))


def turn_back(x: torch.Tensor, view: int, quarters: int) -> torch.Tensor:
    """Undo `turn` exactly."""
    return torch.rot90(x, -quarters, (-3, -2)).movedim(-1, VIEWS[view] - 3)


def draw_angles(generator: torch.Generator) -> torch.Tensor:
    """Draw quarter turns (3 views, 3 rotations) from 0..3; those of a view may coincide."""
    return torch.randint(ANGLES, (len(VIEWS), ROTATIONS), generator=generator)


def draw_mask(side: int, block: int, ratio: float, generator: torch.Generator) -> torch.Tensor:
    """Draw a mask (S, S, S), True where hidden: round(ratio * blocks) cubes of `block` voxels a side.

    The paper masks a share of 0.3 without stating the shape; cubes are ours. Raises ValueError unless `block`
    divides `side` and the ratio is in [0, 1).
    """
    if block < 1 or side % block or not 0 <= ratio < 1:
        raise ValueError(
            f"mask blocks of {block} voxels in a crop of {side}, ratio {ratio}: the block must divide the "
            "crop and the ratio be at least 0 and below 1"
        )
    blocks_per_side = side // block
    hidden = torch.zeros(blocks_per_side**3, dtype=torch.bool)
    hidden[torch.randperm(len(hidden), generator=generator)[: round(ratio * len(hidden))]] = True
    grid = hidden.reshape((blocks_per_side,) * 3)
    for axis in range(3):
        grid = grid.repeat_interleave(block, dim=axis)
    return grid


@dataclass(frozen=True)
class View:
    """Observations of B crops in one view.

    :param index: 0 axial, 1 coronal, 2 sagittal
    :param quarters: (3,) quarter turns of each rotation, the same for all crops of a batch
    :param whole: (3, B, C, S, S, S) turned crops; `masked` has hidden voxels set to 0
    """

    index: int
    quarters: tuple[int, ...]
    whole: torch.Tensor
    masked: torch.Tensor

    def align(self, x: torch.Tensor) -> torch.Tensor:
        """Turn results for the observations (3, B, ...) back to the crops' own orientation."""
        pairs = zip(x, self.quarters, strict=True)
        return torch.stack([turn_back(one, self.index, quarters) for one, quarters in pairs])


def observe(crops: torch.Tensor, block: int, ratio: float, generator: torch.Generator) -> Iterator[View]:
    """Yield three views of three rotations of `crops` (B, C, S, S, S), each masked independently.

    Random numbers are drawn on the CPU, so they are the same on every device. Raises ValueError for crops
    that are not cubes.
    """
    side = crops.shape[-1]
    if crops.ndim != 5 or crops.shape[2:] != (side, side, side):
        raise ValueError(f"crops of shape {tuple(crops.shape)}: expected (B, C, S, S, S)")
    for index, quarters in enumerate(draw_angles(generator).tolist()):
        masks = [draw_mask(side, block, ratio, generator) for _ in range(ROTATIONS * len(crops))]
        hidden = torch.stack(masks).unflatten(0, (ROTATIONS, len(crops)))[:, :, None].to(crops.device)
        whole = torch.stack([turn(crops, index, quarter) for quarter in quarters])
        yield View(index, tuple(quarters), whole, whole.masked_fill(hidden, 0.0))
