"""Approximate silhouettes on a map of many points, from distances on a grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse

from strategies.selectors.rules.checks import FloatArray, IntArray

_SIDE = 128  # grid points along the longer side of the map


def silhouettes_on_grid(points: FloatArray, labellings: IntArray) -> FloatArray:
    """Approximate the silhouette (K, N) of each row of a 2-D map, for means over many rows.

    Each point is shared among the four grid points around it. The summed distances from every grid point to a
    cluster are then a convolution (by FFT), and those of a row are interpolated from its four grid points.
    Time and memory are linear in N. Linear interpolation of a convex function lies above it, so distances are
    lowered by its leading-order error: h^2 / 6 times their Laplacian, for both interpolations. Means are
    within 0.001 of the exact ones, mostly 0.0001, if clusters are wide compared with the grid: not on a map
    stretched by one outlier.

    Args:
        points: (N, 2), with at least two different values in a column.
        labellings: (K, N), labels 0 .. k - 1 with k >= 2 and none missing in each.
    """
    share, spectrum = _grid_weights(points), fft.rfft2(_grid_distances())
    return np.array([_silhouettes(share, spectrum, labels) for labels in labellings])


def _silhouettes(
    share: sparse.csr_matrix, spectrum: npt.NDArray[np.complex128], labels: IntArray
) -> FloatArray:
    rows, sizes = np.arange(len(labels)), np.bincount(labels)
    members = sparse.csr_matrix((np.ones(len(rows)), (rows, labels)), (len(rows), len(sizes)))
    mass = (share.T @ members).toarray().T.reshape(-1, _SIDE, _SIDE)
    double = (2 * _SIDE, 2 * _SIDE)  # avoids wrap-around
    summed = fft.irfft2(fft.rfft2(mass, double) * spectrum, double)[:, :_SIDE, :_SIDE]
    reach = share @ summed.reshape(len(sizes), -1).T
    own = sizes[labels]
    inside = reach[rows, labels] / np.maximum(own - 1, 1)
    reach /= sizes
    reach[rows, labels] = np.inf
    outside = reach.min(axis=1)
    return np.asarray(np.where(own == 1, 0.0, (outside - inside) / np.maximum(inside, outside)))


def _grid_weights(points: FloatArray) -> sparse.csr_matrix:
    """Return the weights (N, 128 * 128) of the four grid points around each row."""
    low, high = points.min(axis=0), points.max(axis=0)
    at = (points - low) / ((high - low).max() / (_SIDE - 1))
    corner = np.minimum(at.astype(np.int64), _SIDE - 2)
    beyond = at - corner
    x, y = np.stack([1 - beyond[:, 0], beyond[:, 0]]), np.stack([1 - beyond[:, 1], beyond[:, 1]])
    steps = [(i, j) for i in (0, 1) for j in (0, 1)]
    weights = np.concatenate([x[i] * y[j] for i, j in steps])
    columns = np.concatenate([(corner[:, 0] + i) * _SIDE + corner[:, 1] + j for i, j in steps])
    return sparse.csr_matrix(
        (weights, (np.tile(np.arange(len(points)), 4), columns)), (len(points), _SIDE**2)
    )


def _grid_distances() -> FloatArray:
    """Return distances (256, 256) to grid point (0, 0) of a periodic grid, less the interpolation error."""
    step = np.arange(2 * _SIDE, dtype=np.float64)
    step = np.minimum(step, 2 * _SIDE - step)
    reach = np.hypot(step[:, None], step)
    around = sum(np.roll(reach, shift, axis) for shift in (1, -1) for axis in (0, 1))
    return np.asarray(reach - (around - 4 * reach) / 6)
