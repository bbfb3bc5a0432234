"""MONAI's resizing of pictures as two matrix products: the same to rounding, and several times as fast.

`Resized` with `anti_aliasing` smoothes all of a large picture first, though few pixels of it are wanted. Both
steps are linear along each axis, so that one matrix for each does them, and is kept for the next picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.transforms import Resized
from monai.utils import ensure_tuple

_IMAGE = "image"


class SwiftResized:
    """What a `Resized` of one picture does, on plain tensors: where the voxels are is not followed."""

    def __init__(self, size: Sequence[int], anti_aliasing: bool) -> None:
        self._size, self._anti_aliasing = tuple(size), anti_aliasing

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        pixels = torch.as_tensor(data[_IMAGE]).to(torch.float32)  # (C, W, H)
        rows, columns = (
            _along(length, size, self._anti_aliasing)
            for length, size in zip(pixels.shape[1:], self._size, strict=True)
        )
        return {**data, _IMAGE: rows @ pixels @ columns.T}


def swift(transforms: Sequence[Any]) -> list[Any]:
    """The same transforms, those that resize a picture bilinearly by matrices."""
    return [
        SwiftResized(ensure_tuple(step.resizer.spatial_size), bool(step.anti_aliasing[0]))
        if _is_bilinear(step)
        else step
        for step in transforms
    ]


def _is_bilinear(step: Any) -> bool:
    if not isinstance(step, Resized) or tuple(step.keys) != (_IMAGE,):
        return False
    plain = step.resizer.size_mode == "all" and not step.align_corners[0]
    plain = plain and step.anti_aliasing_sigma[0] is None
    return plain and str(step.mode[0]) == "bilinear" and len(ensure_tuple(step.resizer.spatial_size)) == 2


@lru_cache(maxsize=64)
def _along(length: int, size: int, anti_aliasing: bool) -> torch.Tensor:
    """(size, length): what resizing does to a line of so many pixels."""
    units = torch.eye(length)[:, None]
    line = torch.nn.functional.interpolate(units, size, mode="linear").squeeze(1).T
    if not anti_aliasing or length <= size:
        return line
    sigma = torch.tensor((length / size - 1) / 2)  # as MONAI and scikit-image have it
    kernel = gaussian_1d(sigma, truncated=4.0, approx="erf")
    smooth = torch.nn.functional.conv1d(line[:, None], kernel[None, None], padding=len(kernel) // 2)
    return smooth.squeeze(1).contiguous()
