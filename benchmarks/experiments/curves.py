"""Plot the learning curves of one or several runs: `python -m benchmarks.curves OUT.png LEDGER...`."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer

from infers.metrics import dice_per_image

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)


def unit_of(ledger: dict[str, Any]) -> str:
    """Return the unit of a ledger's distances; the earliest ledgers do not record one."""
    return str(ledger.get("unit", "px at 256"))


def _per_image(stage: dict[str, Any], metric: str) -> list[float]:
    """Return the Dice or HD95 of each image.

    Ledgers that do not name the app's Dice metric predate it and use the Dice of all classes.
    """
    if metric == "dice":
        return dice_per_image(stage["images"], stage.get("metric", "class_dice"))
    return [float(np.mean(image[metric])) for image in stage["images"].values()]


def draw_curve(ledgers: list[dict[str, Any]], path: Path) -> None:
    """Plot Dice and HD95 against the number of labels, a line per run; the band is the middle half."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for colour, ledger in zip(cycle(plt.get_cmap("tab10")(range(10))), ledgers, strict=False):
        settings, stages = ledger["settings"], ledger["stages"]
        x = [stage["labels"] for stage in stages]
        for axis, metric in zip(axes, ("dice", "hd95"), strict=True):
            values = [_per_image(stage, metric) for stage in stages]
            axis.plot(
                x,
                [stage[metric] for stage in stages],
                "o-",
                color=colour,
                label=f"{settings['strategy']}, seed {settings['seed']}",
            )
            if len(ledgers) == 1:
                low, high = zip(*(np.percentile(v, (25, 75)) for v in values), strict=True)
                axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    settings = ledgers[0]["settings"]
    epochs = settings["epochs"] or "the app's"
    axes[0].set(
        xlabel="labels",
        ylabel="mean Dice",
        title=f"{settings['app']}: {len(settings['test'])} held-out images",
    )
    axes[1].set(
        xlabel="labels",
        ylabel=f"mean HD95 ({unit_of(ledgers[0])})",
        title=f"{epochs} epochs, {settings['encoder']}",
    )
    for axis in axes:
        axis.set_xticks(sorted({stage["labels"] for ledger in ledgers for stage in ledger["stages"]}))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(
    out: Annotated[Path, typer.Argument(help="Image file to write")],
    ledgers: Annotated[list[Path], typer.Argument(help="ledger.json files of `benchmarks.simulate`")],
) -> None:
    """Plot runs together and print them as a table."""
    runs = [json.loads(path.read_text()) for path in ledgers]
    draw_curve(runs, out)
    typer.echo(
        f"| strategy | seed | labels | Dice | HD95 ({unit_of(runs[0])}) | images below Dice 0.5 |\n"
        "|---|---|---|---|---|---|"
    )
    for run in runs:
        for stage in run["stages"]:
            typer.echo(
                f"| {run['settings']['strategy']} | {run['settings']['seed']} | {stage['labels']} | "
                f"{stage['dice']:.4f} | {stage['hd95']:.2f} | {stage['failures']} |"
            )
    for labels in sorted(
        {stage["labels"] for run in runs for stage in run["stages"]} if len(runs) > 1 else ()
    ):
        stages = [stage for run in runs for stage in run["stages"] if stage["labels"] == labels]
        dice, hd95 = (np.mean([stage[metric] for stage in stages]) for metric in ("dice", "hd95"))
        typer.echo(f"| mean of {len(stages)} | | {labels} | {dice:.4f} | {hd95:.2f} | |")


if __name__ == "__main__":
    typer.run(main)
