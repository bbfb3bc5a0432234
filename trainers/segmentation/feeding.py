"""Labelled images as a training wants them: read once, as plain tensors, in the GPU's memory if they fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Compose, EnsureTyped

from bundle_configs import Bundle

KEYS = ("image", "label")
_SHARE = 0.25  # of the GPU's free memory that the images may take

Item = dict[str, torch.Tensor]


def pair_reader(bundle: Bundle) -> Callable[[Mapping[str, Any]], Item]:
    """From the paths of an image and its label to (C, ...) tensors of both; nothing in it is random.

    Plain tensors: MONAI's, which know where their voxels are, make every operation of a training slower.
    """
    steps = [*bundle.new("label_transforms"), *bundle.new("image_transforms")]
    read = Compose([*steps, EnsureTyped(keys=KEYS, track_meta=False)])
    return lambda pair: read({key: pair[key] for key in KEYS})


def placed(items: Sequence[Item], device: torch.device) -> list[Item]:
    """The items on a GPU, or as they are where it has no room for them, and on a processor."""
    size = sum(item[key].nbytes for item in items for key in KEYS)
    if device.type != "cuda" or size > _SHARE * torch.cuda.mem_get_info(device)[0]:
        return list(items)
    return [{key: item[key].to(device) for key in KEYS} for item in items]
