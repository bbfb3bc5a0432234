"""The data set of a suite: images with their true labels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from benchmarks.experiments.simulate import find_images
from pool.imaging.images import image_fingerprint, image_id, read_array


class Data:
    """Images with their true labels.

    :param labels: folder of masks, named like their images
    :ivar digest: of all images and labels, so that cached work is never shared between data sets
    """

    def __init__(self, images: Path, labels: Path) -> None:
        self.images = find_images(images)
        masks = {image_id(path.name): path for path in labels.iterdir()}
        if unlabelled := [path.name for path in self.images if image_id(path.name) not in masks]:
            raise FileNotFoundError(f"{labels} has no label for {unlabelled[0]} ({len(unlabelled)} images)")
        self.label_of = {image_id(path.name): masks[image_id(path.name)] for path in self.images}
        digest = hashlib.sha256()
        for path in self.images:
            digest.update(f"{path.name} {image_fingerprint(path)} ".encode())
            digest.update(self.label_of[image_id(path.name)].read_bytes())
        self.digest = digest.hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        """Return the number of images and a hash of their names, pixels and labels.

        Raises ImageError.
        """
        digest = hashlib.sha256()
        for path in self.images:
            for file in (path, self.label_of[image_id(path.name)]):
                array = read_array(file)[0]
                digest.update(f"{path.name} {array.shape} {array.dtype.str} ".encode() + array.tobytes())
        return {"images": len(self.images), "sha256": digest.hexdigest()}
