"""Order the free images by distance on the map from those labelled or being labelled."""

from __future__ import annotations

import numpy as np

from pool.database.maps import Layout
from strategies import selectors
from strategies.context import Context
from strategies.planning.inputs import rows_of
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import check_rows
from strategies.snapshot import PoolSnapshot

_MAX_FARTHEST = 64  # farthest images to rank: spares in case others are leased meanwhile


def farthest_rows(
    context: Context, pool: PoolSnapshot, layout: Layout
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return free rows of the map, farthest first, and each row's distance to the nearest taken one (N,).

    Taken means labelled or leased. The third value is False when none is: the rows then go from the middle of
    the map outwards, with distance 0.
    """
    reach, row_of = context.reach.nearest(layout, pool.labelled, pool.leased)
    free, taken = reach.copy(), {*pool.labelled, *pool.leased, *pool.skipped, *pool.failed, *pool.held_out}
    free[[row_of[image] for image in taken if image in row_of]] = -1.0
    rows = np.flatnonzero(free >= 0)
    if len(rows) and np.isinf(reach).all():
        rows = _free_rows(layout, rows, pool)
        groups = pool.group_rows(layout.images)
        order = selectors.farthest_first(layout.points, _MAX_FARTHEST, candidates=rows, groups=groups).picks
        return order, np.zeros(len(reach)), False
    order = _free_rows(layout, _best_first(context, pool, layout, free, rows), pool)
    if not len(order):  # all of those have left the pool: check every row, which takes longer
        order = _best_first(context, pool, layout, free, _free_rows(layout, rows, pool))
    return order, reach, True


def _free_rows(layout: Layout, rows: np.ndarray, pool: PoolSnapshot) -> np.ndarray:
    """Return the rows whose image may be handed out; images that left the pool remain on the map."""
    return rows[[pool.is_free(layout.images[row]) for row in rows]]


def _best_first(
    context: Context, pool: PoolSnapshot, layout: Layout, values: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Order rows by `_largest_first`: groups whose turn it is, then the others.

    Images that are leased, or labelled since the newest model was trained, count as their group's turn.
    """
    groups = pool.group_rows(layout.images)
    if groups is None:
        return _largest_first(values, rows)
    models = context.state.models.all()
    trained_on = set(models[0].labelled) if models else set()
    given = rows_of(layout, {*pool.labelled, *pool.leased} - trained_on)
    pool_rows = check_rows(len(groups), candidates=rows, groups=groups)
    is_turn = Availability(pool_rows, rows, np.array(given, dtype=int)).now
    return np.concatenate([_largest_first(values, rows[is_turn]), _largest_first(values, rows[~is_turn])])


def _largest_first(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the `_MAX_FARTHEST` rows with the largest values, more if values tie; ties to the lowest row."""
    if len(rows) > _MAX_FARTHEST:
        rows = rows[values[rows] >= np.partition(values[rows], -_MAX_FARTHEST)[-_MAX_FARTHEST]]
    return rows[np.argsort(-values[rows], kind="stable")]
