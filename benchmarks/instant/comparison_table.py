"""The part of the page that compares heads."""

from __future__ import annotations

from operator import itemgetter

from benchmarks.instant.comparing import DISTANCE_BUDGETS, FAILED
from benchmarks.instant.measuring import BUDGETS
from benchmarks.instant.rows import Cell, table
from infers.instant.grids import SMOOTHING

_HEADS = f"""## Other heads

On the same features, labels and held-out images, each head as it is: without the smoothing and the use of
presence that the tables above have. Ridge regression, logistic regression and boosting (scikit-learn)
see at most 65,536 places. "5 bootstraps" are five perceptrons, each on as many images drawn with replacement.
"Smoothed" is the perceptron with its probabilities smoothed by a Gaussian of {SMOOTHING:g} place, "guided
filter" with them interpolated along the image's edges (2-D only). Their widths were chosen on another seed.
An image failed if its mean Dice is below {FAILED}. HD95 is in pixels at 256 x 256. Seconds are those of a fit
on one core, without validation.

    python -m benchmarks.instant ... --seeds 3 --compare perceptron --compare boosting

"""
_UNSURE = """## Which uncertainty tells images with a low Dice

Spearman's correlation of an image's uncertainty with 1 - Dice over the held-out images. Entropies are means
over all places, or over those with a foreground probability of at least 0.1. Mutual information is that of
the label and the member of the bootstraps.

"""
_UNSURE_BUDGETS = (4, 8)


def comparison(cells: list[Cell]) -> list[str]:
    """Return the parts of the page; none without cells."""
    if not cells:
        return []
    return [
        _HEADS,
        table(cells, "Dice", itemgetter("dice"), BUDGETS),
        table(cells, "Failed (%)", lambda cell: 100 * cell["failures"] / cell["held_out"], BUDGETS, 1),
        table(cells, "HD95", itemgetter("hd95"), DISTANCE_BUDGETS, 1),
        table(cells, "Seconds", itemgetter("seconds"), BUDGETS, 2),
        _UNSURE,
        table(_by_uncertainty(cells), "Spearman", itemgetter("value"), _UNSURE_BUDGETS),
    ]


def _by_uncertainty(cells: list[Cell]) -> list[Cell]:
    """Return a cell for each uncertainty of the perceptron and its bootstraps."""
    return [
        {"cell": {**cell["cell"], "method": f"{cell['cell']['method']}, {name}"}, "value": value}
        for cell in cells
        if cell["cell"]["variant"] in ("perceptron", "5 bootstraps")
        for name, value in cell["spearman"].items()
    ]
