"""Prediction of volumes: blocks that fit into memory, and resampling to the image's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, SpatialResample
from nibabel.orientations import aff2axcodes

Slices = tuple[slice, ...]


def blocks(shape: Sequence[int], window: Sequence[int], max_voxels: int) -> Iterator[tuple[Slices, Slices]]:
    """Cut a volume (W, H, D) into blocks of about `max_voxels` along its longest axis.

    Yield for each block the slices to process, with half a window of margin on both sides, and the block's
    slices within those, both for arrays (C, W, H, D). A block is never thinner than the window.
    """
    axis = int(np.argmax(shape))
    margin = window[axis] // 2
    thick = max(window[axis], max_voxels * shape[axis] // int(np.prod(shape)))
    for start in range(0, shape[axis], thick):
        end = min(start + thick, shape[axis])
        low, high = max(0, start - margin), min(shape[axis], end + margin)
        seen, core = [slice(None)] * 4, [slice(None)] * 4
        seen[axis + 1], core[axis + 1] = slice(low, high), slice(start - low, end - low)
        yield tuple(seen), tuple(core)


def restore(logits: torch.Tensor, image: MetaTensor) -> np.ndarray:
    """Convert logits (C, w, h, d) on the grid of `image` to a label (W, H, D) uint8 on that of its file.

    Resamples probabilities, not labels, by the affines; one class at a time to bound memory.

    :param image: the network input; `spatial_shape` and `own_affine` in its metadata are the file's
    """
    logits = logits.as_tensor() if isinstance(logits, MetaTensor) else logits
    shape = tuple(int(n) for n in image.meta["spatial_shape"])
    total = torch.logsumexp(logits.float(), dim=0)
    best = torch.full(shape, -1.0)
    label = torch.zeros(shape, dtype=torch.uint8)
    for value, channel in enumerate(logits):
        values = to_file_grid((channel.float() - total).exp().cpu(), image)
        label[values > best] = value
        best = torch.maximum(best, values)
    return label.numpy()


def to_file_grid(values: torch.Tensor, image: MetaTensor) -> torch.Tensor:
    """Resample values (w, h, d) on the grid of `image` to that of its file: (W, H, D) float32."""
    shape = tuple(int(n) for n in image.meta["spatial_shape"])
    own = np.asarray(image.meta["own_affine"], dtype=float)
    turn = Orientation(axcodes=aff2axcodes(own), labels=None)
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=np.float32)
    turned = turn(MetaTensor(values[None], affine=image.affine))
    resampled = resample(turned, dst_affine=torch.from_numpy(own), spatial_size=shape)
    return torch.as_tensor(np.asarray(resampled))[0]
