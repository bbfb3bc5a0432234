"""Dense features of transformers models: their hidden states as maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from infers.encoders.dense import SIDE, DenseMaps, NoDenseFeatures, finest_of_each_stride

_SPECIAL = 8  # tokens that a model may have beside its patches: of the class, registers
_LAYERS = (0.5, 1.0)  # of a vision transformer, as fractions of its depth


class HiddenStates(torch.nn.Module):
    """A transformers model as a network of maps: pixels (B, 3, H, W) to maps (B, C, h, w).

    Of a convolutional network the deepest map of each stride, of a vision transformer the patches' tokens in
    the middle and at the end.

    :raises NoDenseFeatures: when called, if the hidden states are neither
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        outputs = self.model(pixel_values=pixels, output_hidden_states=True)
        states, last = outputs.hidden_states, outputs.last_hidden_state
        if not states:
            raise NoDenseFeatures("the model gives no hidden states")
        if last.ndim == 4:
            return finest_of_each_stride([*states, *_same_kind(states, last)], pixels.shape[-1])
        middle = states[round(_LAYERS[0] * (len(states) - 1))]
        return [_patches(state) for state in (middle, last)]


def _same_kind(states: Any, last: torch.Tensor) -> list[torch.Tensor]:
    """Return the last state if no other has its size; it is wide, and often a mere projection of theirs."""
    sizes = {state.shape[-1] for state in states if state.ndim == 4}
    return [] if last.shape[-1] in sizes else [last]


def _patches(tokens: torch.Tensor) -> torch.Tensor:
    """Arrange the tokens (B, T, C) of a square grid's patches as (B, C, g, g), without the first, special."""
    side = math.isqrt(tokens.shape[1])
    if side < 2 or tokens.shape[1] - side * side > _SPECIAL:
        raise NoDenseFeatures(f"the model gives {tokens.shape[1]} tokens, which are no square of patches")
    grid = tokens[:, tokens.shape[1] - side * side :]
    return grid.transpose(1, 2).unflatten(2, (side, side))


def dense_maps(
    model: torch.nn.Module, processor: Callable[[np.ndarray], torch.Tensor], name: str
) -> DenseMaps:
    """Return the dense features of a transformers model with its processor's scaling of grey values.

    A vision transformer is shown as many pixels as its processor makes, since its positions belong to them.

    Raises:
        NoDenseFeatures: the model has no hidden states that are maps.
    """
    black, white = (processor(np.full((224, 224, 3), value, np.uint8))[0].float() for value in (0, 255))
    centre = (slice(None), black.shape[1] // 2, black.shape[2] // 2)
    low, high = black[centre].view(3, 1, 1), white[centre].view(3, 1, 1)

    def prepare(image: np.ndarray) -> torch.Tensor:
        return low + torch.from_numpy(image) * (high - low)

    with torch.inference_mode():
        is_convolutional = model(pixel_values=black[None]).last_hidden_state.ndim == 4
    return DenseMaps(HiddenStates(model), prepare, SIDE if is_convolutional else black.shape[-1], name)
