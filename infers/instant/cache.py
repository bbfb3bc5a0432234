"""Cache of features on the disk: coarse grids of all images, fine grids of the labelled and the next ones.

A folder per key of features. Coarse grids are written in files of several images, since the whole pool is
read at once; fine grids are one file per image. Every file appears whole or not at all, so several processes
may read and write, and a kill costs at most the images being computed. Files are never changed: an image
that changed has its features under its new fingerprint. A damaged file is removed and computed again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infers.instant.features import Features, Reduction
from infers.instant.files import COARSE_FOLDER, DAMAGED, FINE_FOLDER, chosen_of, fine_name, pairs_in, read
from pool.files import clean_cache, make_folder, replacing, write_atomically

MAX_BYTES = 4 << 30  # of all features, coarse and fine
REDUCTION = "reduction.npz"


@dataclass(frozen=True)
class CoarseBlock:
    """Coarse features of several images, whose planes follow one another.

    :ivar images: ids, each with its planes `rows[i] : rows[i + 1]`
    :ivar features: on the coarse grid
    """

    images: list[str]
    rows: np.ndarray
    features: Features


class FeatureCache:
    """Features of one pool under one key.

    :param root: folder of all keys, in the pool's state
    :param dense_key: key of the dense features
    :param max_bytes: bound of this key's folder; fine grids are removed first, those unused for longest
    :ivar is_full: True once coarse features have found no room
    """

    def __init__(self, root: Path, dense_key: str, max_bytes: int = MAX_BYTES) -> None:
        self.root, self.max_bytes = root, max_bytes
        self.is_full = False
        self._pairs_of: dict[Path, list[tuple[str, str]]] = {}  # of the files read before
        self.folder = root / hashlib.sha256(dense_key.encode()).hexdigest()[:16]

    def reduction(self) -> Reduction | None:
        """Return the stored reduction; None if there is none, or it is damaged."""
        try:
            return Reduction.from_bytes((self.folder / REDUCTION).read_bytes())
        except DAMAGED:
            return None

    def keep_reduction(self, reduction: Reduction) -> Reduction:
        """Store the reduction unless another process stored one before; return the stored one.

        Features of another reduction are removed.
        """
        if stored := self.reduction():
            return stored
        shutil.rmtree(self.folder, ignore_errors=True)
        make_folder(self.folder / COARSE_FOLDER)
        make_folder(self.folder / FINE_FOLDER)
        write_atomically(self.folder / REDUCTION, reduction.to_bytes())
        return reduction

    def replace_reduction(self, reduction: Reduction) -> Reduction:
        """Store a reduction instead of another one, whose features are removed; return it."""
        stored = self.reduction()
        if stored is None or stored.key != reduction.key:
            with suppress(FileNotFoundError):
                (self.folder / REDUCTION).unlink()
        return self.keep_reduction(reduction)

    def add_coarse(self, items: Sequence[tuple[str, str, Features]]) -> bool:
        """Store coarse features of (image id, fingerprint, features); return False if they have no room."""
        size = sum(features.grids.nbytes for _, _, features in items)
        if not items or not self._make_room(size):
            self.is_full = bool(items)
            return not items
        content = {
            "images": np.array([image for image, _, _ in items]),
            "fingerprints": np.array([fingerprint for _, fingerprint, _ in items]),
            "planes": np.array([len(features.grids) for _, _, features in items]),
            "grids": np.concatenate([features.grids for _, _, features in items]),
            "positions": np.concatenate([features.positions for _, _, features in items]),
        }
        with replacing(self.folder / COARSE_FOLDER / f"{uuid.uuid4().hex}.npz") as path:
            np.savez(path, **content)
        return True

    def coarse_images(self) -> set[tuple[str, str]]:
        """Return (image id, fingerprint) of all coarse features."""
        files = self._coarse_files()
        self._pairs_of = {
            file: self._pairs_of.get(file) or pairs_in(read(file, ("images", "fingerprints")))
            for file in files
        }
        return {pair for pairs in self._pairs_of.values() for pair in pairs}

    def coarse(self, fingerprints: Mapping[str, str]) -> Iterator[CoarseBlock]:
        """Yield the coarse features of the images with these fingerprints, each once, a file at a time."""
        left = dict(fingerprints)
        for file in self._coarse_files():
            content = read(file)
            chosen = [i for i, (image, mark) in enumerate(pairs_in(content)) if left.get(image) == mark]
            if chosen:
                block = _block(content, np.array(chosen))
                for image in block.images:
                    left.pop(image, None)
                yield block

    def prune(self, fingerprints: Mapping[str, str]) -> None:
        """Remove files of coarse features that hold none of the images with these fingerprints."""
        present = set(fingerprints.items())
        for file in self._coarse_files():
            if present.isdisjoint(pairs_in(read(file, ("images", "fingerprints")))):
                file.unlink(missing_ok=True)

    def add_fine(self, image: str, fingerprint: str, features: Features) -> bool:
        """Store fine features; return False if they have no room."""
        if not self._make_room(features.grids.nbytes):
            return False
        with replacing(self._fine_file(image, fingerprint)) as path:
            np.savez(path, grids=features.grids, positions=features.positions)
        return True

    def fine(self, image: str, fingerprint: str) -> Features | None:
        """Return the fine features of an image; None if they are not there."""
        file = self._fine_file(image, fingerprint)
        if content := read(file):
            with suppress(FileNotFoundError):  # removed meanwhile
                os.utime(file)  # used now: removed later than others
            return Features(content["grids"], content["positions"])
        return None

    def bytes_used(self) -> int:
        """Return the bytes of this key's files."""
        return sum(size for _, size, _ in _files(self.folder))

    def clean(self) -> None:
        """Remove files of killed processes; no other process may be writing."""
        if self.root.is_dir():
            clean_cache(self.root)

    def _coarse_files(self) -> list[Path]:
        return sorted((self.folder / COARSE_FOLDER).glob("[!.]*.npz"))

    def _fine_file(self, image: str, fingerprint: str) -> Path:
        return self.folder / FINE_FOLDER / fine_name(image, fingerprint)

    def _make_room(self, size: int) -> bool:
        """Remove fine grids, those unused for longest first, until `size` bytes fit; False if they cannot."""
        excess = self.bytes_used() + size - self.max_bytes
        for _, used, file in sorted(_files(self.folder / FINE_FOLDER)):
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            excess -= used
        return excess <= 0


def _block(content: Mapping[str, np.ndarray], chosen: np.ndarray) -> CoarseBlock:
    if len(chosen) < len(content["images"]):
        content = chosen_of(content, chosen)
    starts = np.concatenate([[0], np.cumsum(content["planes"])])
    return CoarseBlock(content["images"].tolist(), starts, Features(content["grids"], content["positions"]))


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Return (time of last use, bytes, path) of the files in a folder and its folders."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # removed meanwhile
            stat = path.stat()
            if path.is_file():
                found.append((stat.st_mtime, stat.st_size, path))
    return found
