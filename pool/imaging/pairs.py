"""Pairs of images and labels from two plain folders, for work without a server."""

from __future__ import annotations

from pathlib import Path

from pool.imaging.names import EXTENSIONS, LABEL_EXTENSIONS, image_id


def find(images: str) -> list[dict[str, str]]:
    """List a folder's images as [{"image": path}], sorted. Raises ValueError when it has none."""
    folder = _folder(images, "images")
    files = [path for path in folder.iterdir() if path.name.lower().endswith(EXTENSIONS)]
    if not files:
        raise ValueError(f"--images {images}: has no images ({', '.join(EXTENSIONS)})")
    return [{"image": str(path)} for path in sorted(files)]


def pairs(images: str, masks: str) -> list[dict[str, str]]:
    """Pair images with labels of the same name: [{"image": path, "label": path}], sorted by image.

    Raises ValueError when there are no pairs, or when an image has several labels.
    """
    labels: dict[str, str] = {}
    for path in sorted(_folder(masks, "masks").iterdir()):
        if path.name.lower().endswith(LABEL_EXTENSIONS):
            name = image_id(path.name)
            if name in labels:
                raise ValueError(f"{labels[name]} and {path} are labels of one image; remove one of them")
            labels[name] = str(path)
    matches = [
        {**image, "label": labels[image_id(image["image"])]}
        for image in find(images)
        if image_id(image["image"]) in labels
    ]
    if not matches:
        raise ValueError(f"--masks {masks}: has no label with the name of an image in {images}")
    return matches


def _folder(path: str, option: str) -> Path:
    if not path or not Path(path).is_dir():
        raise ValueError(f"--{option} {path}: no such folder; check the path")
    return Path(path)
