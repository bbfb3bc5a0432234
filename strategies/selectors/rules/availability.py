"""Availability of rows whose groups take turns."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from strategies.selectors.rules.checks import BoolArray, IntArray, Rows


class Availability:
    """Rows that may be picked now, updated at every pick.

    No group gives a second pick while another with candidates left has given none; once each has given one,
    the second turn opens, and so on. See "Groups" in `docs/selection.md`. A pick costs time linear in the
    size of its group, amortised over the turns.

    Attributes:
        now: (n,) True for rows that may be picked now; at least one while any candidate is left.
        turn: number of picks that each available group has given.
    """

    def __init__(self, rows: Rows, among: IntArray, picked: IntArray | None = None) -> None:
        """
        Args:
            rows: candidates and groups.
            among: (n,) row numbers; `now` and `take` refer to positions in it.
            picked: rows picked earlier; they count for their groups.
        """
        is_candidate = np.zeros(len(rows.groups), dtype=bool)
        is_candidate[rows.candidates] = True
        self._left: BoolArray = is_candidate[among]
        self._group = rows.groups[among]
        self._by_group = np.argsort(self._group, kind="stable")
        count = int(rows.groups.max(initial=-1)) + 1
        self._ends = np.cumsum(np.bincount(self._group, minlength=count))
        given = np.zeros(count, dtype=np.int64)
        if picked is not None:
            given += np.bincount(rows.groups[picked], minlength=count)
        turns = given[self._group]
        self.turn = int(turns[self._left].min(initial=len(rows.groups)))
        self.now: BoolArray = self._left & (turns == self.turn)
        self._open = np.count_nonzero(np.bincount(self._group[self.now]))
        self._waiting: dict[int, list[int]] = defaultdict(list)  # turn -> groups that become available in it
        for group in np.unique(self._group[self._left & ~self.now]):
            self._waiting[int(given[group])].append(int(group))

    def take(self, at: int) -> None:
        """Record the pick of position `at`, which must be available."""
        group = int(self._group[at])
        members = self._members(group)
        self._left[at] = False
        self.now[members] = False
        if self._left[members].any():
            self._waiting[self.turn + 1].append(group)
        self._open -= 1
        if self._open == 0 and self._waiting:
            self.turn = min(self._waiting)
            opened = self._waiting.pop(self.turn)
            self._open = len(opened)
            for group in opened:
                members = self._members(group)
                self.now[members] = self._left[members]

    def _members(self, group: int) -> IntArray:
        start = self._ends[group - 1] if group else 0
        return self._by_group[start : self._ends[group]]


def in_turns(order: IntArray, groups: IntArray) -> IntArray:
    """Reorder rows (n,) so that groups take turns, always picking the first available row of `order`.

    The first row of each group comes first, then the second of each, ...; a turn keeps the given order.
    """
    group = groups[order]
    if np.bincount(group).max(initial=0) <= 1:  # nothing to do, as always without groups
        return order
    by_group = np.argsort(group, kind="stable")
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_group] = np.arange(len(order)) - np.searchsorted(group[by_group], group[by_group])
    return order[np.argsort(turn, kind="stable")]
