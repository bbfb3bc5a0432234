"""Compiled loops are kept on disk, and work where they cannot be."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from strategies.selectors.numerics.compiled import compiled

LOOP = """
from strategies.selectors.numerics.compiled import compiled

@compiled()
def twice(x):
    return x + x
"""


def test_a_loop_is_compiled_once_for_all_processes(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    hits = []
    for _ in range(2):
        twice: Any = runpy.run_path(str(tmp_path / "loop.py"))["twice"]
        assert twice(2.5) == 5.0
        hits.append(sum(twice.stats.cache_hits.values()))
    assert hits == [0, 1]


def test_a_loop_that_cannot_be_kept_works() -> None:
    made: dict[str, Any] = {}
    exec("def twice(x):\n    return x + x", made)  # has no file, so numba has no folder for it
    assert compiled(nogil=True)(made["twice"])(2.5) == 5.0
