"""Dense features: what an encoder computes at each place of an image, on grids of several sizes.

An encoder with dense features has `dense_key` and `dense` beside `key` and `embed`. The grids of one image
are its `Pyramid`. They span the whole image, whatever the encoder's own preparation crops. A convolutional
network is shown `SIDE` pixels: the map of MobileNetV2 at stride 8 has 56 x 56 places then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from infers.encoders.base import BATCH, checked
from infers.encoders.images import resize

SIDE = 448  # pixels shown to a convolutional network
STRIDES = (4, 8, 16, 32)  # of the maps that are kept of a convolutional network

Pyramid = list[np.ndarray]  # (g, g, C) float32 each, the finest first


@runtime_checkable
class DenseEncoder(Protocol):
    """An encoder that gives a pyramid of features.

    Attributes:
        dense_key: identifies the features: the encoder, its weights, and the grids.
    """

    dense_key: str

    def dense(self, images: Sequence[np.ndarray]) -> list[Pyramid]:
        """Compute the pyramids of images (H, W) float32 in [0, 1], of any size.

        Raises:
            ValueError: as `Encoder.embed`.
        """
        ...


class NoDenseFeatures(ValueError):
    """A network whose outputs are no maps; the text says what they are."""


def finest_of_each_stride(maps: Sequence[Any], side: int) -> list[Any]:
    """Return the last, deepest map (B, C, h, w) of each stride of `STRIDES`, the finest first.

    Raises:
        NoDenseFeatures: the network has no map at such a stride.
    """
    deepest = {round(side / grid.shape[-1]): grid for grid in maps if grid.ndim == 4}
    kept = [deepest[stride] for stride in STRIDES if stride in deepest]
    if not kept:
        raise NoDenseFeatures(
            f"the network has maps at strides {sorted(deepest)} only; dense features need one of {STRIDES}"
        )
    return kept


class DenseMaps:
    """Dense features of a PyTorch network.

    :param network: (B, 3, h, w) to a list of maps (B, C, h, w), the finest first
    :param prepare: turns an image (side, side) into the network's input (3, side, side)
    :param side: pixels that the network is shown
    :param name: name of the encoder, for the log and errors
    """

    def __init__(
        self, network: Callable[[Any], list[Any]], prepare: Callable[[np.ndarray], Any], side: int, name: str
    ) -> None:
        import torch

        from infers.runtime import Runtime

        class Flat(torch.nn.Module):
            """The network's maps in one row per image, since `Runtime` knows one output."""

            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, pixels: Any) -> Any:
                return torch.cat([grid.flatten(1) for grid in self.network(pixels)], dim=1)

        self._prepare, self._side, self._name = prepare, side, name
        with torch.inference_mode():
            probe = network(prepare(np.full((side, side), 0.5, np.float32))[None].float())
        self._shapes = [tuple(grid.shape[1:]) for grid in probe]
        self._run = Runtime(Flat(), f"Dense features of {name}", for_maps=True)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Pyramid]:
        """Compute the pyramids; see `DenseEncoder.dense`."""
        import torch

        pyramids: list[Pyramid] = []
        for start in range(0, len(images), BATCH):
            chunk = [checked(image, i) for i, image in enumerate(images[start : start + BATCH], start)]
            pixels = torch.stack([self._prepare(resize(image, self._side).clip(0, 1)) for image in chunk])
            rows = self._run(pixels).cpu().numpy()
            if not np.isfinite(rows).all():
                raise ValueError(f"encoder {self._name} gave NaN or infinity: its weights are damaged")
            pyramids += [self._split(row) for row in rows]
        return pyramids

    def _split(self, row: np.ndarray) -> Pyramid:
        ends = np.cumsum([np.prod(shape) for shape in self._shapes])[:-1]
        parts = zip(np.split(row, ends), self._shapes, strict=True)
        return [np.moveaxis(part.reshape(shape), 0, -1) for part, shape in parts]
