"""What every selector returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Selection:
    """The picks of one call, and why each of them was picked.

    Attributes:
        picks: (B,) int64, row numbers in hand-out order, without repetition.
        evidence: name -> (B,) array, one value per pick, e.g. `score`, `distance`, `role`. A selector gives
            the same names for every budget, so an empty selection has them too.

    Raises:
        ValueError: an evidence array has not one value per pick.
    """

    picks: npt.NDArray[np.int64]
    evidence: dict[str, npt.NDArray[Any]]

    def __post_init__(self) -> None:
        for name, values in self.evidence.items():
            if values.shape != self.picks.shape:
                raise ValueError(f"evidence {name!r} has shape {values.shape}, picks have {self.picks.shape}")
