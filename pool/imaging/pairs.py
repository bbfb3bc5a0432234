"""Images and labels of two plain folders, for work without a server."""

from __future__ import annotations

from pathlib import Path

from pool.imaging.images import EXTENSIONS, image_id
from pool.imaging.labels import EXTENSIONS as LABEL_EXTENSIONS


def find(images: str) -> list[dict[str, str]]:
    """[{"image": path}] of a folder, sorted. Raises ValueError when it has none."""
    folder = _folder(images, "images")
    files = [path for path in folder.iterdir() if path.name.lower().endswith(EXTENSIONS)]
    if not files:
        raise ValueError(f"--images {images}: has no images ({', '.join(EXTENSIONS)})")
    return [{"image": str(path)} for path in sorted(files)]


def pairs(images: str, masks: str) -> list[dict[str, str]]:
    """[{"image": path, "label": path}] of the images that have a label of their name, sorted by image.

    Raises ValueError when there is none, or when one has several.
    """
    labels: dict[str, str] = {}
    for path in sorted(_folder(masks, "masks").iterdir()):
        if path.name.lower().endswith(LABEL_EXTENSIONS):
            name = image_id(path.name)
            if name in labels:
                raise ValueError(f"{labels[name]} and {path} are labels of one image; remove one of them")
            labels[name] = str(path)
    found = [
        {**image, "label": labels[image_id(image["image"])]}
        for image in find(images)
        if image_id(image["image"]) in labels
    ]
    if not found:
        raise ValueError(f"--masks {masks}: has no label with the name of an image in {images}")
    return found


def _folder(path: str, option: str) -> Path:
    if not path or not Path(path).is_dir():
        raise ValueError(f"--{option} {path}: no such folder; name one")
    return Path(path)
