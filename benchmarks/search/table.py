"""Page of a search, from its cells: README.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.experiments.results import read_cells
from benchmarks.experiments.statistics import Difference
from benchmarks.search.curves import Curves
from benchmarks.search.headroom import NOTE, headroom_rows
from benchmarks.search.plans import COVERAGE, SearchPlan
from benchmarks.search.rule import rule_rows

LEAST_COVERED = 4  # labels from which coverage is shown
BASELINES = ("random", "random, one per patient", "ground truth 100 %")

_HEAD = """# search_{name}

Which labels to ask for, with the instant head as the learner ([benchmarks/search](../../search)): {data},
{encoder}. Dice is on the grid of 32 x 32 places, joined over a patient's images, with 1 where neither label
nor prediction has a structure; a fifth of the patients is held out. A seed draws them and starts head and
methods. The draws of a random method on one split are averaged, so that their noise is not taken for a
difference. The head is not the U-Net of a training: what it shows is a reason to try a method, no proof.

    python -m benchmarks.search {name} --studies IMAGES --labels MASKS --weights WEIGHTS --phase PHASE
"""
_NOTE = """
Area: under the curve from {first} to {last} labels, as a Dice. Differences are paired by seed, with
percentile bootstrap [ ] and Student ( ) intervals of 95 %, not corrected for the number of methods.
Visible: the smallest mean difference that this many seeds show with a power of 80 %. Labels needed: until
the mean curve first has random's Dice with {last} labels. Non-empty: labels that show something, of {last}.
Tail: distance of the worst tenth of the non-empty images to the nearest non-empty label, in median
distances. Pixels: of the structures in all labels. Painted: share of the held-out images with an empty
label on which the head paints.
"""


def write_page(plan: SearchPlan, folder: Path) -> None:
    """Write README.md beside the cells of a plan."""
    cells = list(read_cells(folder).values())
    labels = plan.budgets
    encoder = plan.encoder.rpartition(":")[2]
    lines = [_HEAD.format(name=plan.name, data=plan.data, encoder=encoder)]
    for name, phase in plan.phases.items():
        curves = Curves(plan, phase, cells)
        if not curves.methods:
            continue
        seeds = len({seed for method in curves.methods for seed in curves.curve(method, "non_empty")})
        lines += [f"## {name.capitalize()}", "", f"{seeds} of {len(phase.seeds)} seeds.", ""]
        if name == COVERAGE:
            lines += [*_coverage_rows(curves), ""]
        elif name == "headroom":
            lines += [*headroom_rows(plan, phase, cells), NOTE]
        elif phase.against:
            lines += [*_against_rows(curves, phase.against), ""]
        else:
            lines += [*_dice_rows(curves), "", *_difference_rows(curves), "", *_label_rows(curves), ""]
        if name == "decision":
            lines += [*rule_rows(curves), ""]
    lines.append(_NOTE.strip().format(first=labels[0], last=labels[-1]))
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def _coverage_rows(curves: Curves) -> Iterator[str]:
    labels = [n for n in curves.plan.budgets if n >= LEAST_COVERED]
    heads = [f"{what}, {n} labels" for what in ("non-empty", "mean distance", "tail") for n in labels]
    yield f"| method | seeds | {' | '.join(heads)} |"
    yield "|---" * (2 + len(heads)) + "|"
    at = [curves.plan.budgets.index(n) for n in labels]
    for method in curves.methods:
        columns = []
        for what, digits in (("non_empty", 1), ("mean", 2), ("tail", 2)):
            means = np.nanmean(list(curves.curve(method, what).values()), axis=0)[at]
            columns += [f"{value:.{digits}f}" for value in means]
        yield f"| {method} | {len(curves.curve(method, 'mean'))} | {' | '.join(columns)} |"


def _dice_rows(curves: Curves) -> Iterator[str]:
    labels = curves.plan.budgets
    yield f"| Dice with ... labels | seeds | {' | '.join(map(str, labels))} | area |"
    yield "|---" * (3 + len(labels)) + "|"
    for method in curves.methods:
        yield f"| {method} | {_dice_columns(curves, method)} |"


def _dice_columns(curves: Curves, method: str) -> str:
    """Format the number of seeds, the mean Dice with each number of labels, and the mean area."""
    means = np.mean(list(curves.curve(method).values()), axis=0)
    areas = list(curves.areas(method).values())
    return f"{len(areas)} | {' | '.join(f'{value:.3f}' for value in means)} | {np.mean(areas):.4f}"


def _against_rows(curves: Curves, base: str) -> Iterator[str]:
    """Yield one table of all methods, compared with one of them."""
    labels = curves.plan.budgets
    dice = " | ".join(f"Dice, {n}" for n in labels)
    yield f"| | seeds | {dice} | area | - {base} | non-empty | tail | painted |"
    yield "|---" * (7 + len(labels)) + "|"
    for method in curves.methods:
        difference = shown(curves.against(method, base)) if method != base else ""
        last = " | ".join(_last(curves, method, what) for what in ("non_empty", "tail", "false_positive"))
        yield f"| {method} | {_dice_columns(curves, method)} | {difference} | {last} |"


def _difference_rows(curves: Curves) -> Iterator[str]:
    bases = [base for base in BASELINES if base in curves.methods]
    yield f"| area, difference to | {' | '.join(bases)} | visible | labels needed |"
    yield "|---" * (3 + len(bases)) + "|"
    for method in curves.methods:
        differences = [curves.against(method, base) if base != method else None for base in bases]
        visible = next((d.visible for d in differences if d and d.visible), None)
        columns = [shown(difference) for difference in differences]
        columns += [f"{visible:.4f}" if visible else "", curves.needed(method, "random")]
        yield f"| {method} | {' | '.join(columns)} |"


def shown(difference: Difference | None) -> str:
    """Format a difference with both intervals."""
    if difference is None:
        return ""
    ends = difference.student
    return f"{difference} ({ends[0]:+.4f}, {ends[1]:+.4f})" if ends else str(difference)


def _label_rows(curves: Curves) -> Iterator[str]:
    yield "| labels | non-empty | tail | pixels | Dice on positives | painted |"
    yield "|---|---|---|---|---|---|"
    for method in curves.methods:
        columns = (_last(curves, method, what) for what in _LABELS)
        yield f"| {method} | {' | '.join(columns)} |"


def _last(curves: Curves, method: str, what: str) -> str:
    """Format the mean of a measure at the last number of labels."""
    last = [curve[-1] for curve in curves.curve(method, what).values()]
    known = [value for value in last if not np.isnan(value)]
    return f"{np.mean(known):.{_LABELS[what]}f}" if known else ""


_LABELS = {"non_empty": 1, "tail": 2, "pixels": 0, "positive_dice": 3, "false_positive": 2}
