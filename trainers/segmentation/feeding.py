"""Training data: labelled images read once, as plain tensors, in GPU memory if they fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Compose, EnsureTyped

from bundle_configs import Bundle

KEYS = ("image", "label")
_MAX_MEMORY_SHARE = 0.25  # of the GPU's free memory, for the images

Item = dict[str, torch.Tensor]


def pair_reader(bundle: Bundle) -> Callable[[Mapping[str, Any]], Item]:
    """Return a deterministic function from the paths of an image and its label to tensors (C, ...) of both.

    Plain tensors, because MONAI's, which track the affine, slow down every operation.
    """
    steps = [*bundle.new("label_transforms"), *bundle.new("image_transforms")]
    read = Compose([*steps, EnsureTyped(keys=KEYS, track_meta=False)])
    return lambda pair: read({key: pair[key] for key in KEYS})


def placed(items: Sequence[Item], device: torch.device) -> list[Item]:
    """Move the items to the GPU if they fit; otherwise, and on a CPU, return them unchanged."""
    size = sum(item[key].nbytes for item in items for key in KEYS)
    if device.type != "cuda" or size > _MAX_MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
        return list(items)
    return [{key: item[key].to(device) for key in KEYS} for item in items]
