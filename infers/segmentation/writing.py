"""Conversion of network outputs to label files on the image's own grid, with or without a server."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Resize

from infers.segmentation.volumes import restore
from pool.imaging.images import image_id
from pool.imaging.label_writer import write_label


def restore_label(logits: torch.Tensor, image: MetaTensor) -> np.ndarray:
    """Convert logits (C, ...) to a label (W, H[, D]) uint8 on the image's grid; resizes probabilities.

    :param image: the network input; `spatial_shape` and `own_affine` in its metadata are the file's
    """
    if logits.ndim == 4:
        return restore(logits, image)
    size = tuple(int(v) for v in image.meta["spatial_shape"])
    probabilities = torch.softmax(logits.float(), dim=0)
    resized = torch.as_tensor(np.asarray(Resize(size, mode="bilinear")(probabilities).cpu()))
    best, label = resized[0].clone(), torch.zeros(size, dtype=torch.uint8)
    for value, channel in enumerate(resized[1:], start=1):  # argmax over the first axis is ten times slower
        label[channel > best] = value
        best = torch.maximum(best, channel)
    return label.numpy()


class Restored(MapTransform):
    """MONAI transform from logits to a label and the affine of the image's file."""

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out, image = dict(data), data[self.image_key]
        for key in self.key_iterator(out):
            label = restore_label(torch.as_tensor(out[key]), image)
            out[key] = (label, np.asarray(image.meta["own_affine"], dtype=float))
        return out


class WriteLabeld(MapTransform):
    """MONAI transform that writes the result of `Restored` to a file in `folder`, named like the image.

    :param extension: ".nii.gz", ".nrrd", ".png" (2-D), ...
    """

    def __init__(
        self,
        keys: KeysCollection,
        folder: str,
        extension: str,
        labels: Mapping[str, int],
        colors: Mapping[str, Sequence[int]],
        image_key: str = "image",
    ) -> None:
        super().__init__(keys)
        self.folder, self.extension, self.image_key = Path(folder), extension, image_key
        self.labels, self.colors = dict(labels), {name: list(rgb) for name, rgb in colors.items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image = str(data[self.image_key].meta["filename_or_obj"])
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in self.key_iterator(dict(data)):
            label, affine = data[key]
            target = str(self.folder / f"{image_id(image)}{self.extension}")
            write_label(target, label, affine, self.labels, self.colors, image)
        return dict(data)
