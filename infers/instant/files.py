"""Files of features, as `infers.instant.cache` writes them: reading them, and removing those of some images.

Nothing here imports PyTorch, so that commands are fast.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pool.files import replacing

logger = logging.getLogger(__name__)
ROOT = "instant"  # folder of all keys, in the pool's state
COARSE_FOLDER, FINE_FOLDER = "coarse", "fine"
DAMAGED = (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError)


def files_about(root: Path, images: Collection[str], known: Iterable[tuple[str, str]]) -> list[Path]:
    """Return the files of all keys that hold features of images.

    :param known: (image, fingerprint) of everything in the pool, to find fine features by
    """
    wanted, found = set(images), list[Path]()
    for file in sorted(root.glob(f"*/{COARSE_FOLDER}/[!.]*.npz")):
        if not wanted.isdisjoint(image for image, _ in pairs_in(read(file, ("images", "fingerprints")))):
            found.append(file)
    names = {fine_name(image, fingerprint) for image, fingerprint in known if image in wanted}
    return found + [file for file in sorted(root.glob(f"*/{FINE_FOLDER}/*.npz")) if file.name in names]


def forget(root: Path, images: Collection[str], known: Iterable[tuple[str, str]]) -> int:
    """Remove the features of images under all keys; return the number of files removed or written anew.

    Fine features that belong to no image of `known` go, too: their names do not say whose they are.
    No other process may be writing.
    """
    wanted, changed = set(images), 0
    kept = {fine_name(image, fingerprint) for image, fingerprint in known if image not in wanted}
    for file in sorted(root.glob(f"*/{COARSE_FOLDER}/[!.]*.npz")):
        content = read(file)
        stay = [i for i, (image, _) in enumerate(pairs_in(content)) if image not in wanted]
        if len(stay) == len(pairs_in(content)):
            continue
        changed += 1
        if stay:
            with replacing(file) as path:
                np.savez(path, **chosen_of(content, np.array(stay)))
        else:
            file.unlink()
    for file in sorted(root.glob(f"*/{FINE_FOLDER}/*.npz")):
        if file.name not in kept:
            changed += 1
            file.unlink()
    return changed


def fine_name(image: str, fingerprint: str) -> str:
    """Return the name of an image's file of fine features."""
    return hashlib.sha256(f"{image}\0{fingerprint}".encode()).hexdigest()[:32] + ".npz"


def read(file: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a file, or some; empty if it is gone. A damaged file is removed."""
    try:
        with np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in names or content.files}
    except FileNotFoundError:
        return {}
    except DAMAGED as error:
        logger.warning("%s is damaged (%s): its features are computed again", file, error)
        file.unlink(missing_ok=True)
        return {}


def pairs_in(content: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    """Return (image id, fingerprint) of the images in a file of coarse features."""
    if not content:
        return []
    return list(zip(content["images"].tolist(), content["fingerprints"].tolist(), strict=True))


def chosen_of(content: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Return a file's arrays with some of its images only."""
    planes, positions = content["planes"], content["positions"]
    ends = np.cumsum(planes)
    rows = np.concatenate([np.arange(ends[i] - planes[i], ends[i]) for i in chosen])
    of_images = {name: content[name][chosen] for name in ("images", "fingerprints", "planes")}
    return of_images | {
        "grids": content["grids"][rows],
        "positions": positions[rows] if len(positions) else positions,
    }
