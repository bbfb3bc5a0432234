"""The map of a pool with the picks of each method, as in Figure 6 of arXiv 2601.18532."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

# Okabe and Ito, safe for colour blindness; from the eighth cluster on they repeat, as triangles
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
SHAPES = {"medoid": "s", "farthest": "o"}
_OTHER_SHAPE = "D"


@dataclass(frozen=True)
class Panel:
    """One method on its map.

    :param points: (N, 2); of a map with more dimensions, only the first two are drawn
    :param clusters: cluster of each point; -1 for none
    :param picks: rows of `points`, in order
    :param roles: role of each pick
    """

    method: str
    points: np.ndarray
    clusters: Sequence[int]
    picks: Sequence[int]
    roles: Sequence[str]


def draw_maps(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Draw one panel per method; picks show their order."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.4 * len(panels), 5.9), layout="constrained", squeeze=False
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        _draw_pool(axis, panel)
        _draw_picks(axis, panel)
        axis.set(
            title=f"{panel.method}: {len(panel.picks)} of {len(panel.points)} images", xticks=[], yticks=[]
        )
        axis.set_aspect("equal", "datalim")
    handles: dict[str, Any] = {}
    for axis in axes[0]:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    handles |= {
        role.replace("_", " "): plt.Line2D(
            [], [], marker=SHAPES.get(role, _OTHER_SHAPE), ls="", mfc="white", mec="black", ms=10
        )
        for role in dict.fromkeys(role for panel in panels for role in panel.roles)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=5, fontsize=9)
    figure.suptitle(f"{title}. Numbers: the order of the picks", fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_pool(axis: Any, panel: Panel) -> None:
    """Draw all images in the colour of their cluster."""
    clusters = np.asarray(panel.clusters)
    for cluster, count in sorted(Counter(panel.clusters).items()):
        x, y = panel.points[clusters == cluster, :2].T
        label = "in no cluster" if cluster < 0 else f"cluster {cluster + 1} ({count} images)"
        marker = "o" if cluster < len(COLOURS) else "^"
        axis.scatter(x, y, s=30, c=_colour(cluster), marker=marker, alpha=0.75, linewidths=0, label=label)


def _draw_picks(axis: Any, panel: Panel) -> None:
    """Draw each pick with its order; the shape shows its role, the edge its cluster."""
    for order, (row, role) in enumerate(zip(panel.picks, panel.roles, strict=True), start=1):
        x, y = panel.points[row, :2]
        marker, edge = SHAPES.get(role, _OTHER_SHAPE), _colour(panel.clusters[row])
        axis.scatter(x, y, s=190, marker=marker, c="black", linewidths=0, zorder=2 + order)
        axis.scatter(
            x, y, s=115, marker=marker, c="white", edgecolors=edge, linewidths=2.0, zorder=2.2 + order
        )
        axis.text(x, y, str(order), ha="center", va="center_baseline", fontsize=7.5, zorder=2.5 + order)


def _colour(cluster: int) -> str:
    return "#999999" if cluster < 0 else COLOURS[cluster % len(COLOURS)]
