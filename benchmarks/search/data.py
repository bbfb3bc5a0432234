"""A labelled pool as the search sees it: features, vectors, patients, and true labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.experiments.simulate import find_images, split
from benchmarks.instant.pool import read_pool
from benchmarks.search.plans import SearchPlan
from infers.encoders import make_encoder
from infers.encoders.base import Encoder
from infers.encoders.slices import axial_slices, embed_slices
from infers.instant.cache import CoarseBlock
from infers.instant.features import Features
from infers.instant.grids import coarser
from infers.instant.head import Head
from infers.instant.planes import read_planes
from pool.files import make_folder, replacing
from pool.imaging.images import image_id
from pool.imaging.labels import read_label
from pool.imaging.volumes import volume_grid
from strategies.planning.positions import positions_of
from trainers.instant.fit import fit
from trainers.instant.labelled import Labelled

HEADS = 200  # kept of a data set: methods begin alike


@dataclass(frozen=True)
class SearchData:
    """The images of a data set; row i is `images[i]`.

    :ivar vectors: (N, D) of the pool's encoder, by which methods compare images
    :ivar patients: one per image
    :ivar position: (N,) of slices in their volumes, from 0 to 1; None without any
    :ivar items: what heads are fitted on
    :ivar shows: (N,) bool, the true label is not empty
    :ivar pixels: (N,) of the true label's structures
    :ivar others: vectors of the further encoders of the plan, by their names there
    :ivar measured: features and labels on a coarser grid, by row and side; kept for the other cells
    """

    images: list[str]
    items: list[Labelled]
    vectors: np.ndarray
    patients: list[str]
    position: np.ndarray | None
    shows: np.ndarray
    pixels: np.ndarray
    others: dict[str, np.ndarray] = field(default_factory=dict)
    _heads: dict[tuple[Any, ...], Head] = field(default_factory=dict, init=False, repr=False)
    measured: dict[tuple[int, int], Labelled] = field(default_factory=dict, init=False, repr=False)

    def divide(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the pool and of the held-out images, all of a patient on one side."""
        paths = [Path(image) for image in self.images]
        parts = split(paths, share, seed, self.patients)
        row_of = {path: row for row, path in enumerate(paths)}
        pool, held_out = (np.array([row_of[path] for path in part], np.int64) for part in parts)
        return pool, held_out

    def head(
        self, rows: Sequence[int] | np.ndarray, classes: Sequence[int], seed: int, validate: bool = True
    ) -> Head:
        """Fit the instant head on labels; one that was fitted before is returned again (the last 200)."""
        key = (tuple(int(row) for row in rows), tuple(classes), seed, validate)
        if key not in self._heads:
            if len(self._heads) == HEADS:
                self._heads.pop(next(iter(self._heads)))
            items = [self.items[row] for row in rows]
            self._heads[key] = fit(items, "search", classes, seed, validate=validate)
        return self._heads[key]

    def mislabelled(self, share: float, seed: int) -> SearchData:
        """Return the data with a share of the labels, drawn at random, replaced by those of other images."""
        random = np.random.default_rng(seed)
        wrong = np.flatnonzero(random.random(len(self.images)) < share)
        donors = random.integers(len(self.images), size=len(wrong))
        items, shows = list(self.items), self.shows.copy()
        for row, donor in zip(wrong, donors, strict=True):
            items[row] = replace(items[row], shares=self.items[donor].shares)
            shows[row] = self.shows[donor]
        return replace(self, items=items, shows=shows)

    def on_grid(self, row: int, side: int) -> Labelled:
        """Return the features and label of an image on a grid of at most `side` places per side."""
        if (row, side) not in self.measured:
            item = self.items[row]
            side_of = min(side, item.shares.shape[1])
            features = Features(coarser(item.features.grids, side_of), item.features.positions)
            self.measured[row, side] = Labelled(features, coarser(item.shares, side_of))
        return self.measured[row, side]

    def coarse(self, rows: np.ndarray) -> CoarseBlock:
        """Return the coarse features of images, which are all 2-D or all volumes."""
        coarse = [self.items[row].features.coarse() for row in rows]
        starts = np.cumsum([0, *(len(one.grids) for one in coarse)])
        grids = np.concatenate([one.grids for one in coarse])
        positions = np.concatenate([one.positions for one in coarse])
        return CoarseBlock([self.images[row] for row in rows], starts, Features(grids, positions))


def read_data(
    plan: SearchPlan, studies: Path, labels: Path, weights: Path | None, work: Path, heads: bool = True
) -> SearchData:
    """Read images or volumes and their masks, and compute what is missing of the features.

    :param heads: with what heads are fitted on; without, `items` is empty

    Raises ImageError, LabelError.
    """
    encoder = _located(plan.encoder, weights)
    files = find_images(studies)
    images = [image_id(path.name) for path in files]
    patients = [_patient(image, plan.groups) for image in images]
    items = []
    if heads:
        pool = read_pool(studies, labels, plan.classes, encoder, None, work)
        items = [replace(c.labelled, group=p) for c, p in zip(pool.cases, patients, strict=True)]
    pixels = [_drawn(file, labels, plan.classes) for file in files]
    folder, drawn = work / studies.resolve().parent.name, np.array(pixels)
    vectors = _vectors(files, encoder, folder / "vectors.npz")
    others = {
        name: _vectors(files, _located(name, weights), folder / f"vectors-{name.rpartition(':')[2]}.npz")
        for name in sorted(plan.encoders)
    }
    return SearchData(images, items, vectors, patients, positions_of(images), drawn > 0, drawn, others)


def _located(encoder: str, weights: Path | None) -> str:
    """Return the name of an encoder with the path of its weights."""
    if encoder.startswith("transformers:") and weights:
        return f"transformers:{weights / encoder.partition(':')[2]}"
    return encoder


def _drawn(file: Path, labels: Path, classes: list[int]) -> int:
    """Return the number of pixels or voxels of an image's structures."""
    label = read_label(labels / file.name, {str(value): value for value in classes}, file)
    return int(np.count_nonzero(label))


def _patient(image: str, pattern: str) -> str:
    match = re.search(pattern, image) if pattern else None
    return match[1] if match else image


def _vectors(files: list[Path], name: str, kept: Path) -> np.ndarray:
    """Return the pool encoder's vectors (N, D), kept in a file."""
    encoder = make_encoder(name)
    if kept.exists():
        with np.load(kept) as content:
            if str(content["key"]) == encoder.key and len(content["vectors"]) == len(files):
                return np.asarray(content["vectors"])
    rows = [_vector(encoder, file) for file in tqdm(files, unit="image", disable=None)]
    vectors = np.concatenate(rows).astype(np.float64)
    make_folder(kept.parent)
    with replacing(kept) as part:
        np.savez(part, vectors=vectors, key=np.array(encoder.key))
    return vectors


def _vector(encoder: Encoder, file: Path) -> np.ndarray:
    """Return the vector (1, D) of an image, or of a volume by its slices, as the app `volumes` does."""
    if volume_grid(file):
        return embed_slices(encoder, [axial_slices(file, "mr")])
    return encoder.embed([read_planes(file, 2).images[0]])
