"""Random crops of a pool's volumes, in a reproducible order with random access."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.transforms import Compose, SpatialPad
from torch.utils.data import DataLoader, Dataset

from pool.imaging.errors import own_error

logger = logging.getLogger(__name__)
_ORDER, _CROP, _OBSERVE = range(3)  # purposes of derived seeds


def generator(seed: int, iteration: int) -> torch.Generator:
    """Return the generator of one iteration's angles and masks, independent of earlier draws."""
    drawn = np.random.SeedSequence([seed, _OBSERVE, iteration]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(drawn) >> 1)


class Crops(Dataset):
    """Random crops: sample k is a crop (C, S, S, S) and the row of its image, determined by k and the seed.

    Each epoch visits all volumes in another order. Volumes smaller than a crop are padded with 0. An
    unreadable one is logged once, and the next one in the order takes its place.

    :param images: ids; their order matters
    :param path_of: returns the path of an image's file
    :param transforms: turn `{"image": path}` into a volume (C, W, H, D) under the same key
    """

    def __init__(
        self,
        images: Sequence[str],
        path_of: Callable[[str], str],
        transforms: Compose,
        side: int,
        seed: int,
    ) -> None:
        self.images, self.path_of, self.transforms = list(images), path_of, transforms
        self.side, self.seed = side, seed
        self._pad = SpatialPad((side,) * 3)
        self._unreadable: set[int] = set()

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        """Return sample k. Raises RuntimeError if no volume of the pool can be read."""
        epoch, place = divmod(k, len(self.images))
        order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.images))
        for row in np.roll(order, -place).tolist():
            if (volume := self._read(row)) is not None:
                return self._crop(volume, k), row
        raise RuntimeError("no volume of this pool can be read; the log says why")

    def _read(self, row: int) -> torch.Tensor | None:
        if row in self._unreadable:
            return None
        try:
            volume = self.transforms({"image": self.path_of(self.images[row])})["image"]
        except Exception as error:
            logger.error("Image %s is skipped: %s", self.images[row], own_error(error, self.images[row]))
            self._unreadable.add(row)
            return None
        return torch.as_tensor(volume.as_tensor() if hasattr(volume, "as_tensor") else volume)

    def _crop(self, volume: torch.Tensor, k: int) -> torch.Tensor:
        volume = torch.as_tensor(self._pad(volume))
        room = np.array(volume.shape[1:]) - self.side
        w, h, d = np.random.default_rng([self.seed, _CROP, k]).integers(room + 1)
        s = self.side
        return volume[:, w : w + s, h : h + s, d : d + s].clone()


def batches(crops: Crops, size: int, first: int, last: int, workers: int) -> DataLoader:
    """Return a loader for iterations `first` to `last` - 1: crops (B, C, S, S, S) and rows (B,)."""
    own = torch.Generator().manual_seed(0)  # keeps the loader off the global generator
    return DataLoader(
        crops,
        batch_size=size,
        sampler=range(first * size, last * size),
        num_workers=workers,
        generator=own,
    )
