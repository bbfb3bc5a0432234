"""Bring a label onto its image's grid: by index or by position, and nothing of it is cut silently."""

from __future__ import annotations

import os
import re
from math import prod

import nrrd
import numpy as np
from scipy.ndimage import affine_transform

from pool.imaging.errors import LabelError, StrPath
from pool.imaging.formats import kind_of
from pool.imaging.geometry import former_affine, gives_position

_SAME = 0.05  # voxels: grids whose corners are nearer than this are the same
MAX_FINER = 64  # voxels of a label per voxel of its image, layers included
_EDGE = 0.5 + 1e-3  # voxels: a voxel belongs to an image up to half a voxel beyond its centres
Shape = tuple[int, ...]


def on_images_grid(
    label: np.ndarray, affine: np.ndarray, path: StrPath, image: StrPath, shape: Shape, target: np.ndarray
) -> np.ndarray:
    """Return a label (W, H, D) on the grid of its image, unchanged where it already is.

    A file that gives no position is taken by index, and so is one in the geometry that former versions gave.

    :param affine: (4, 4) of the label's file
    :param shape: of the image, (W, H) or (W, H, D); `target` is its affine (4, 4)

    Raises LabelError when the sizes differ, or when voxels of the label lie outside the image.
    """
    size, positioned = (*shape, 1)[:3], gives_position(path)
    if not positioned or not (gives_position(image) or kind_of(image) == "nifti"):
        found = _by_index(label, affine if positioned else None, path, image, size, target)
    elif label.shape == size and any(_same(affine, at, size) for at in (target, former_affine(image))):
        found = label
    else:
        found = _by_position(label, affine, size, target)
    return found.reshape(shape)


def refuse_size(declared: Shape, shape: Shape) -> None:
    """Check a label's size by its header, before its voxels are read. Raises LabelError."""
    size = (*shape, 1)[:3]
    if prod(declared) > prod(size) * MAX_FINER:
        raise _other_size(declared, shape)


def _by_position(label: np.ndarray, affine: np.ndarray, size: Shape, target: np.ndarray) -> np.ndarray:
    _refuse_loss(label, affine, size, target)
    moved = _moved(label, affine, size, target)
    gone = sorted(set(np.unique(label).tolist()) - set(np.unique(moved).tolist()) - {0})
    if gone:
        raise LabelError(
            f"the label has a finer grid than its image, on which the values {gone[:5]} vanish; "
            "draw it on the image's own grid"
        )
    return moved


def size_text(shape: Shape) -> str:
    """Return a size as messages show it."""
    flat = shape[:2] if len(shape) < 3 or shape[2:] == (1,) else shape
    return " x ".join(map(str, flat)) + (" pixels" if len(flat) == 2 else " voxels")


def _by_index(
    label: np.ndarray,
    affine: np.ndarray | None,
    path: StrPath,
    image: StrPath,
    shape: Shape,
    target: np.ndarray,
) -> np.ndarray:
    """Take a label voxel by voxel; one that lists the image's voxels along other axes is turned back.

    Raises LabelError for another size.
    """
    if affine is not None:
        for grid in (target, former_affine(image)):
            if _lists_the_same_voxels(label.shape, affine, shape, grid):
                return _moved(label, affine, shape, grid)
    if label.shape == shape:
        return label
    if (whole := _uncropped(label, path, shape)) is not None:
        return whole
    raise _other_size(label.shape, shape)


def _other_size(own: Shape, shape: Shape) -> LabelError:
    return LabelError(
        f"the label is {size_text(own)}, its image {size_text(shape)}; draw it on the image's own grid"
    )


def _uncropped(label: np.ndarray, path: StrPath, shape: Shape) -> np.ndarray | None:
    """Pad a label that 3D Slicer cropped to its segments; None when its header gives no offset.

    Segments without a voxel are cropped to a single one, which is 0.
    """
    if not str(path).lower().endswith(".nrrd"):
        return None
    if label.size == 1 and not label.any():
        return np.zeros(shape, label.dtype)
    offset = str(nrrd.read_header(os.fspath(path)).get("Segmentation_ReferenceImageExtentOffset", ""))
    if not re.fullmatch(r"\d{1,9} \d{1,9} \d{1,9}", offset):
        return None
    start = [int(n) for n in offset.split()]
    if any(np.add(start, label.shape) > shape):
        return None
    out = np.zeros(shape, label.dtype)
    out[tuple(slice(n, n + size) for n, size in zip(start, label.shape, strict=True))] = label
    return out


def _indices(affine: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the map (4, 4) from the indices of one grid to those of another."""
    return np.linalg.inv(target) @ affine


def _corners(low: Shape, high: Shape) -> np.ndarray:
    """Return the eight corners (4, 8) of a box of indices, both ends included."""
    grid = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), dtype=float).reshape(3, -1)
    return np.vstack([grid, np.ones(grid.shape[1])])


def _ends(shape: Shape) -> np.ndarray:
    return _corners((0, 0, 0), tuple(n - 1 for n in shape))


def _same(affine: np.ndarray, target: np.ndarray, shape: Shape) -> bool:
    """Return whether two affines put every voxel of an array in the same place."""
    corners = _ends(shape)
    return bool(np.abs(_indices(affine, target) @ corners - corners).max() <= _SAME)


def _lists_the_same_voxels(own: Shape, affine: np.ndarray, shape: Shape, target: np.ndarray) -> bool:
    """Return whether a label holds exactly its image's voxels, with axes in another order or direction."""
    if sorted(own) != sorted(shape):
        return False
    moves = _indices(affine, target)
    turn = np.round(moves[:3, :3])
    is_turn = np.abs(moves[:3, :3] - turn).max() < _SAME / max(own) and abs(np.linalg.det(turn)) == 1
    sides = (moves @ _ends(own))[:3], _ends(shape)[:3]
    low, high = (np.abs(f(sides[0], axis=1) - f(sides[1], axis=1)).max() for f in (np.min, np.max))
    return bool(is_turn and max(low, high) <= _SAME)


def _moved(label: np.ndarray, affine: np.ndarray, shape: Shape, target: np.ndarray) -> np.ndarray:
    """Sample a label at the voxels of a grid, by nearest neighbour; 0 outside."""
    volume = label.astype(np.uint8) if label.dtype == bool else label
    moves = np.round(_indices(target, affine), 6)  # so that noise in the last digits decides no tie
    return np.asarray(
        affine_transform(volume, moves[:3, :3], moves[:3, 3], shape, order=0, mode="grid-constant", cval=0)
    )


def _refuse_loss(label: np.ndarray, affine: np.ndarray, shape: Shape, target: np.ndarray) -> None:
    """Raise LabelError with how many voxels lie outside the image, and how far."""
    used = np.nonzero(label.any(axis=(1, 2)))[0]
    if not used.size:
        return
    moves, last = _indices(affine, target), np.array(shape)[:, None] - 1
    if not _beyond(moves, _box(label), last).any():
        return
    count, outside, farthest = 0, 0, 0.0
    for row in used:  # one plane at a time bounds the memory
        columns, slices = np.nonzero(label[row])
        indices = np.stack([np.full(len(columns), row), columns, slices, np.ones(len(columns))])
        beyond = _beyond(moves, indices, last)
        distance = np.linalg.norm(target[:3, :3] @ beyond, axis=0)
        count, outside = count + len(distance), outside + int((distance > 0).sum())
        farthest = max(farthest, float(distance.max()))
    if outside:
        raise LabelError(
            f"{outside} of {count} voxels of the label lie outside its image, by up to {farthest:.3g} mm; "
            "draw it on the image itself, or save it with the image's geometry"
        )


def _box(label: np.ndarray) -> np.ndarray:
    """Return the corners (4, 8) of the box around the voxels of a label that are not 0."""
    used = [np.nonzero(label.any(axis=axes))[0] for axes in ((1, 2), (0, 2), (0, 1))]
    return _corners(tuple(int(u[0]) for u in used), tuple(int(u[-1]) for u in used))


def _beyond(moves: np.ndarray, indices: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return by how many voxels (3, N) indices (4, N) lie beyond the outer centres of a grid; 0 if within it.

    :param last: the last index of each axis (3, 1)
    """
    places = (moves @ indices)[:3]
    beyond = places - np.clip(places, 0, last)
    return np.where((np.abs(beyond) > _EDGE).any(axis=0), beyond, 0.0)
