"""Checks of the pretraining settings before any work is done."""

from __future__ import annotations

from typing import Any

import torch

from bundle_configs import Bundle
from infers.csal3d.network import STRIDE
from infers.csal3d.views import draw_mask
from trainers.csal3d.losses import parse_losses

_COUNTS = ("crop", "mask_block", "feature_size", "window", "iterations", "batch_size", "checkpoint_every")


def check_pretraining(bundle: Bundle) -> None:
    """Raise ValueError naming the first invalid value among the bundle's `pretrain_` keys."""
    for name in _COUNTS:
        value = bundle.get(f"pretrain_{name}")
        if not _is_whole(value) or value < 1:
            raise ValueError(f"pretrain_{name} {value!r}: must be a whole number above 0")
    workers, rate = bundle.get("pretrain_workers"), bundle.get("pretrain_learning_rate")
    if not _is_whole(workers) or workers < 0:
        raise ValueError(f"pretrain_workers {workers!r}: must be a whole number, 0 for none")
    if not 0 < rate < float("inf"):
        raise ValueError(f"pretrain_learning_rate {rate}: must be a number above 0")
    crop = bundle.get("pretrain_crop")
    if crop % STRIDE:
        raise ValueError(
            f"pretrain_crop {crop}: must be a multiple of {STRIDE}, since the network halves it repeatedly"
        )
    draw_mask(crop, bundle.get("pretrain_mask_block"), bundle.get("pretrain_mask_ratio"), torch.Generator())
    parse_losses(bundle.get("pretrain_losses"))
    try:
        bundle.new("pretrain_network")
    except Exception as error:  # MONAI and torch raise many kinds of errors
        raise ValueError(f"the network of the pretraining cannot be built: {error}") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
