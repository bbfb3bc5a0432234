"""Which rows may be picked now, when rows belong to groups that take turns."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from strategies.selectors.rules.checks import BoolArray, IntArray, Rows


class Availability:
    """The rows that may be picked now; told of every pick.

    No group gives a second pick while another that has candidates left has given none; when each of these has
    given one, the second turn opens, and so on. See "Groups" in `docs/selection.md`. A pick costs the size of
    its group, spread over the turns.

    Attributes:
        now: (n,) whether each row may be picked now. There is one as long as any candidate is left.
        turn: how many picks a group has given before it gives one now.
    """

    def __init__(self, rows: Rows, among: IntArray, picked: IntArray | None = None) -> None:
        """
        Args:
            rows: who is a candidate, and of which group.
            among: (n,) row numbers; `now` and `take` speak of positions in it.
            picked: rows picked before; they count for their groups.
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
        self._waiting: dict[int, list[int]] = defaultdict(list)  # turn -> groups that give one in it
        for group in np.unique(self._group[self._left & ~self.now]):
            self._waiting[int(given[group])].append(int(group))

    def take(self, at: int) -> None:
        """Row `at`, one that may be picked now, is picked."""
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
    """The rows of `order` as they are picked when always the first that may be picked is: (n,).

    First the first row of each group, then the second of each, ...; within a turn they keep their order.
    """
    group = groups[order]
    if np.bincount(group).max(initial=0) <= 1:  # nothing to sort, as always without groups
        return order
    by_group = np.argsort(group, kind="stable")
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_group] = np.arange(len(order)) - np.searchsorted(group[by_group], group[by_group])
    return order[np.argsort(turn, kind="stable")]
