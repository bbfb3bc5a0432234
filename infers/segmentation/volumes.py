"""What prediction of volumes needs: blocks that fit into memory, and the way back to the image's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, SpatialResample
from nibabel.orientations import aff2axcodes

Slices = tuple[slice, ...]


def blocks(shape: Sequence[int], window: Sequence[int], most: int) -> Iterator[tuple[Slices, Slices]]:
    """Cut a volume of shape (W, H, D) into blocks of about `most` voxels along its longest axis.

    Each comes as what to look at, half a window more on both sides, and where the block lies in that. A block
    is never thinner than the window. Both are for an array (C, W, H, D).
    """
    axis = int(np.argmax(shape))
    margin = window[axis] // 2
    thick = max(window[axis], most * shape[axis] // int(np.prod(shape)))
    for start in range(0, shape[axis], thick):
        end = min(start + thick, shape[axis])
        low, high = max(0, start - margin), min(shape[axis], end + margin)
        seen, core = [slice(None)] * 4, [slice(None)] * 4
        seen[axis + 1], core[axis + 1] = slice(low, high), slice(start - low, end - low)
        yield tuple(seen), tuple(core)


def restore(logits: torch.Tensor, image: MetaTensor) -> np.ndarray:
    """Logits (C, w, h, d) on the grid of `image` as a label (W, H, D) uint8 on that of its file.

    Probabilities are resampled by the affines, not labels; one class at a time, which bounds memory.

    :param image: what the network saw; `spatial_shape` and `own_affine` in its meta data are the file's
    """
    logits = logits.as_tensor() if isinstance(logits, MetaTensor) else logits
    shape = tuple(int(n) for n in image.meta["spatial_shape"])
    own = np.asarray(image.meta["own_affine"], dtype=float)
    turn = Orientation(axcodes=aff2axcodes(own), labels=None)
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=np.float32)
    total = torch.logsumexp(logits.float(), dim=0)
    best = torch.full(shape, -1.0)
    label = torch.zeros(shape, dtype=torch.uint8)
    for value, channel in enumerate(logits):
        probability = MetaTensor((channel.float() - total).exp().cpu()[None], affine=image.affine)
        there = resample(turn(probability), dst_affine=torch.from_numpy(own), spatial_size=shape)
        values = torch.as_tensor(np.asarray(there))[0]
        label[values > best] = value
        best = torch.maximum(best, values)
    return label.numpy()
