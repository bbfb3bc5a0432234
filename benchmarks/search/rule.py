"""The decision rule, which was committed before its seeds ran.

On each data set, on the seeds of the phase `decision`:

1. Candidates are the methods of that phase other than random ones and ground truth.
2. A candidate is shown to save labels if its area under the curve is above that of the baseline, with the
   lower ends of both 95 % intervals of the paired difference above 0: Student's with its level divided by the
   number of candidates (Bonferroni), and the percentile bootstrap. The baseline is `random, one per patient`,
   or `random` where each image is its own patient.
3. The winner is the candidate shown to save labels with the largest mean difference. Without any, the
   baseline wins, and the page says so.

The instant head is the learner here, and a training decides: a winner becomes an app's default only if its
claim against that baseline is confirmed or likely in the suite of the same data (`busi`,
`montgomery_saved`, `hippocampus_slices_saved`, `hippocampus_volumes_saved`), on seeds that no other suite
uses. Where no method is shown to beat one-per-patient random, that is the default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from scipy.stats import t

from benchmarks.experiments.learning_curves import BASELINES
from benchmarks.experiments.statistics import Difference
from benchmarks.search.curves import Curves


def decide(curves: Curves) -> tuple[str, dict[str, tuple[Difference, float, bool]]]:
    """Return the winner, and by candidate its difference, the lower end of that, and if it is shown."""
    baseline = next(name for name in BASELINES if name in curves.methods)
    candidates = [m for m in curves.methods if not m.startswith(("random", "ground truth"))]
    results = {}
    for method in candidates:
        difference = curves.against(method, baseline)
        if difference is None or difference.low is None or difference.deviation is None:
            continue
        level = t.ppf(1 - 0.025 / len(candidates), difference.seeds - 1)
        low = difference.mean - level * difference.deviation / math.sqrt(difference.seeds)
        results[method] = difference, low, min(low, difference.low) > 0
    shown = {method: result for method, result in results.items() if result[2]}
    winner = max(shown, key=lambda method: shown[method][0].mean) if shown else baseline
    return winner, results


def rule_rows(curves: Curves) -> Iterator[str]:
    """Yield the outcome of the rule."""
    winner, results = decide(curves)
    yield "By the rule in `benchmarks/search/rule.py`:"
    yield ""
    yield "| candidate | area - baseline [bootstrap] | lower end, for all candidates together | shown |"
    yield "|---|---|---|---|"
    for method, (difference, low, is_shown) in results.items():
        yield f"| {method} | {difference} | {low:+.4f} | {'yes' if is_shown else 'no'} |"
    yield ""
    yield f"Winner: **{winner}**."
