"""Processor seconds of fresh processes: what is measured, and that a failing one is named."""

from __future__ import annotations

import pytest

from benchmarks.speed.starting import COMPARISONS, run_seconds


def test_a_process_is_measured_with_its_output_and_a_failing_one_is_named() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint('ready')"
    seconds, output = run_seconds(["-c", busy], repeats=1)
    assert 0.3 <= seconds < 3 and output == "ready\n"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_seconds(["-c", "1 / 0"], repeats=1)


def test_each_import_and_each_command_has_a_row_of_its_own() -> None:
    names = [compare.__name__ for compare in COMPARISONS]
    assert len(set(names)) == 11 and {"import_context", "status", "hold_out"} <= set(names)
    row = COMPARISONS[0](True)
    assert row.ours_s is not None and row.ours_s > 0 and row.baseline_s is None
