"""Encoder of a pool's image files, built from the settings: reads, prepares and embeds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bundle_configs import Bundle
from infers.encoders import make_encoder
from infers.encoders.base import StagedEncoder
from infers.encoders.keys import pool_encoder_key
from infers.encoders.slices import axial_slices, embed_slices
from pool.imaging.images import unit_range


@dataclass(frozen=True)
class PoolEncoder:
    """Encoder of a pool's image files.

    Attributes:
        key: identifies the encoder, its weights, and how images are shown to it.
        read: reads the values of an image file, in [0, 1]; raises ImageError.
        prepare: prepares these values for `embed`; like `read`, it may run in threads.
        embed: encodes a list of prepared images to (B, dim) float32.
    """

    key: str
    read: Callable[[str], np.ndarray]
    prepare: Callable[[np.ndarray], Any]
    embed: Callable[[Sequence[Any]], np.ndarray]


def pool_reader(bundle: Bundle) -> Callable[[str], np.ndarray]:
    """Return a function that reads an image file as encoders see it, in [0, 1]; it raises ImageError.

    It also refuses volumes with other channels than the network's: labelling them would be no use.
    """
    if bundle.get("dimensions") == 2:
        return unit_range
    modality, channels = bundle.get("modality_rule"), bundle.get("in_channels")
    return partial(axial_slices, modality=modality, channels=channels)


def make_pool_encoder(name: str, weights: str | None, bundle: Bundle) -> PoolEncoder:
    """Create the pool's encoder; for volumes it averages over slices. Raises as `make_encoder`."""
    key, encoder = pool_encoder_key(name, weights, bundle), make_encoder(name, weights)
    read = pool_reader(bundle)
    if bundle.get("dimensions") == 2:
        if isinstance(encoder, StagedEncoder):
            return PoolEncoder(key, read, encoder.prepare, encoder.embed_prepared)
        return PoolEncoder(key, read, np.asarray, encoder.embed)
    return PoolEncoder(key, read, np.asarray, partial(embed_slices, encoder))
