"""Result of a selector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Selection:
    """Picks of one call, with the evidence for each.

    Attributes:
        picks: (B,) int64, unique row numbers in hand-out order.
        evidence: name -> (B,) array, one value per pick, e.g. `score`, `distance`, `role`. A selector returns
            the same names for every budget, even for an empty selection.
        details: facts about the whole call, such as the number of clusters.
        measures: name -> (N,) array, one number per row, such as the row's cluster.

    Raises:
        ValueError: an evidence array does not have one value per pick.
    """

    picks: npt.NDArray[np.int64]
    evidence: dict[str, npt.NDArray[Any]]
    details: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.evidence.items():
            if values.shape != self.picks.shape:
                raise ValueError(f"evidence {name!r} has shape {values.shape}, picks have {self.picks.shape}")
