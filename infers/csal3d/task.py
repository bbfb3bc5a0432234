"""Features and uncertainty of whole volumes with a pretrained CSAL-3D network (Zhu et al., section 2).

A window slides over the volume with a stride of half its side. Each window is encoded once as it is, for the
features, and nine times turned and masked, for the uncertainty. Memory holds the volume and one window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Compose, SpatialPad

from infers.csal3d.network import Csal3dNetwork
from infers.csal3d.views import observe
from infers.fingerprints import pretrained_key
from infers.model_file import bundle_of
from pool.imaging.errors import reading_image


class Judged(NamedTuple):
    """Features (D,) float32 of one volume, and the disagreement of its nine reconstructions."""

    features: np.ndarray
    uncertainty: float


def starts(size: int, side: int) -> list[int]:
    """Return the starts of windows along an axis: every half `side`, the last flush with the end."""
    last = max(0, size - side)
    return sorted({*range(0, last, max(1, side // 2)), last})


@torch.inference_mode()
def variance(
    network: Csal3dNetwork,
    window: torch.Tensor,
    block: int,
    ratio: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Compute voxel uncertainty (S, S, S) of a window (C, S, S, S), Eq. 5 and 6.

    The variance over the nine realigned reconstructions, averaged over channels. Eq. 5 sums instead of
    averaging and divides by the number of voxels: constant factors, which change no pick.
    """
    aligned = []
    for view in observe(window[None], block, ratio, generator):
        rebuilt = network.reconstruct(view.masked.flatten(0, 1)).float()
        aligned.append(view.align(rebuilt.unflatten(0, view.masked.shape[:2])))
    return torch.cat(aligned).var(dim=0, unbiased=False)[0].mean(dim=0)


class Csal3d:
    """Judges volumes with the published network.

    :param path: the published `pretrained.pt`, which describes its training
    """

    def __init__(self, path: Path) -> None:
        key = pretrained_key(path)
        if key is None:
            raise FileNotFoundError(f"{path} does not exist: start the training `pretraining` first")
        self.key = key
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        checkpoint = torch.load(path, map_location=self.device, weights_only=True)
        bundle = bundle_of(checkpoint["details"])
        self.network: Csal3dNetwork = bundle.new("pretrain_network").to(self.device).eval()
        self.network.load_state_dict(checkpoint["model"])
        self.transforms = Compose(bundle.new("image_transforms"))
        self.side: int = bundle.get("pretrain_crop")
        self.channels = bundle.input_shape[1]
        self.block, self.ratio = bundle.get("pretrain_mask_block"), bundle.get("pretrain_mask_ratio")
        self.details: dict[str, Any] = checkpoint["details"]

    def judge(self, path: str) -> Judged:
        """Return features and uncertainty of an image file. Raises ImageError."""
        with reading_image(path):
            volume = self.transforms({"image": path})["image"].as_tensor()
        return self.judge_volume(volume)

    @torch.inference_mode()
    def judge_volume(self, volume: torch.Tensor) -> Judged:
        """Return features and uncertainty of a volume (C, W, H, D) with values in [0, 1]; deterministic.

        Features: mean over windows. Uncertainty: mean of overlapping windows (Eq. 7), then mean over all
        voxels (Eq. 8), without the padding of a volume smaller than the window.
        """
        padded = torch.as_tensor(SpatialPad((self.side,) * 3)(volume))
        total, count = (torch.zeros(padded.shape[1:]) for _ in range(2))
        features = []
        for number, place in enumerate(self._windows(padded.shape[1:])):
            window = padded[:, place[0], place[1], place[2]].to(self.device)
            features.append(self.network.embed(window[None])[0].float().cpu())
            drawn = torch.Generator().manual_seed(self._seed_of(number))
            total[place] += variance(self.network, window, self.block, self.ratio, drawn).cpu()
            count[place] += 1
        inside = tuple(
            slice((p - s) // 2, (p - s) // 2 + s) for p, s in zip(total.shape, volume.shape[1:], strict=True)
        )
        value = float((total[inside] / count[inside]).mean(dtype=torch.float64))
        return Judged(torch.stack(features).mean(dim=0).numpy(), value)

    def _windows(self, shape: torch.Size) -> Iterator[tuple[slice, ...]]:
        """Yield all positions of the window; together they cover the volume."""
        for begin in itertools.product(*(starts(size, self.side) for size in shape)):
            yield tuple(slice(b, b + self.side) for b in begin)

    def _seed_of(self, window: int) -> int:
        """Return the seed of a window's angles and masks, the same for all images so that they compare."""
        return int(np.random.SeedSequence([self.details["seed"], window]).generate_state(1, np.uint32)[0])
