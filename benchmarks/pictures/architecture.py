"""Draw the packages, their rooms and who imports whom: `python -m benchmarks.pictures.architecture`.

Everything is read from the imports in the tree, also those inside functions. An arrow that follows from
others is left out: `server` imports `pool`, but the way from one to the other is already there. Rooms that
import each other stand side by side without an arrow. `benchmarks` may import everything, so it has none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import matplotlib
import typer

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[2]
PACKAGES = ("pool", "bundle_configs", "infers", "trainers", "strategies", "server", "apps", "benchmarks")
WORDS = {
    "apps": "one table of contents per MONAI Label app",
    "server": "routes, pages, background work, command line",
    "strategies": "what to label next, and why",
    "trainers": "from labels to a model",
    "infers": "models that look at images",
    "bundle_configs": "one MONAI bundle per app: network, labels, training",
    "pool": "images, labels, and the pool's database",
    "benchmarks": "may import everything, nothing imports it",
}
COLOURS = {
    "apps": "#fdebd0",
    "server": "#fde2e2",
    "strategies": "#dff0d8",
    "trainers": "#e8e3f5",
    "infers": "#e8e3f5",
    "bundle_configs": "#fff6cc",
    "pool": "#dbe9f6",
    "benchmarks": "#eeeeee",
}
FREE = "benchmarks"  # may import everything: its arrows would say nothing
WIDTH, GAP, MARGIN = 100.0, 2.0, 1.0  # of the picture, between two boxes of a row, around all
CHIP, STEP, HEAD, BETWEEN = 3.4, 6.4, 8.2, 5.0  # heights: a room, from room to room, a title, from row to row

Arrows = dict[str, set[str]]


def imported(file: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(package: str) -> list[str]:
    """The folders of a package that hold Python files."""
    folders = (ROOT / package).iterdir()
    return sorted(f.name for f in folders if f.is_dir() and any(f.glob("*.py")))


def arrows() -> tuple[Arrows, dict[str, Arrows]]:
    """Return the imports: between packages, and for each package between its rooms."""
    between: Arrows = {package: set() for package in PACKAGES}
    inside: dict[str, Arrows] = {p: {room: set() for room in rooms_of(p)} for p in PACKAGES}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            room = file.relative_to(ROOT / package).parts[0]
            for name in imported(file):
                other, *rest = name.split(".")
                if other in between and other != package:
                    between[package].add(other)
                elif other == package and room in inside[package] and rest and rest[0] in inside[package]:
                    inside[package][room].add(rest[0])
    for links in inside.values():
        for room, others in links.items():
            others.discard(room)
    return between, inside


def reached(links: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """All that one imports, and what these import."""
    found: set[str] = set()
    left = [start]
    while left:
        new = set(links[left.pop()]) - found
        found |= new
        left += new
    return found


def downward(links: Arrows, name: str) -> set[str]:
    """Return the arrows that have none in the other direction."""
    return {other for other in links[name] if name not in reached(links, other)}


def reduced(links: Arrows) -> Arrows:
    """The arrows that do not follow from others."""
    below = {name: downward(links, name) for name in links}
    return {
        name: {o for o in others if not any(o in reached(below, other) for other in others - {o})}
        for name, others in below.items()
    }


def level(links: Arrows, name: str) -> int:
    """0 for what imports nothing, else one above the highest that it imports."""
    return 1 + max((level(links, other) for other in downward(links, name)), default=-1)


def rows_of(links: Arrows) -> list[list[str]]:
    """Names by level, from the lowest."""
    levels = {name: level(links, name) for name in links}
    return [[n for n in links if levels[n] == row] for row in range(max(levels.values(), default=-1) + 1)]


@dataclass
class Drawing:
    """Boxes that have their place, by name, as (left, bottom, width, height)."""

    axes: Axes
    boxes: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)

    def box(self, name: str, place: tuple[float, float, float, float], colour: str) -> None:
        left, bottom, width, height = place
        self.boxes[name] = place
        shape = FancyBboxPatch(
            (left, bottom), width, height, "round,pad=0,rounding_size=1", fc=colour, ec="#666666", lw=0.8
        )
        self.axes.add_patch(shape)

    def arrow(self, start: str, end: str, thick: bool) -> None:
        """From the lower edge of one box to the upper edge of another."""
        (left, bottom, width, _), (left2, bottom2, width2, height2) = self.boxes[start], self.boxes[end]
        low, high = max(left, left2), min(left + width, left2 + width2)  # straight down where both overlap
        straight = (low + high) / 2
        points = (straight, straight) if low < high else (left + width / 2, left2 + width2 / 2)
        self.axes.add_patch(
            FancyArrowPatch(
                (points[0], bottom),
                (points[1], bottom2 + height2),
                arrowstyle="-|>",
                mutation_scale=13 if thick else 8,
                shrinkA=0,
                shrinkB=0,
                lw=1.6 if thick else 0.9,
                color="#333333" if thick else "#777777",
            )
        )

    def package(self, name: str, links: Arrows, left: float, bottom: float, width: float) -> None:
        """A package with its rooms."""
        rows, centre = rows_of(links), left + width / 2
        self.box(name, (left, bottom, width, height_of(links)), COLOURS[name])
        top = bottom + height_of(links)
        self.axes.text(centre, top - 2.4, f"{name}/", weight="bold", size=11, ha="center", va="center")
        self.axes.text(centre, top - 5.4, WORDS[name], size=8, ha="center", va="center", color="#444444")
        for row, shares in enumerate(shares_of(rows, reduced(links))):
            self._row(name, shares, left + 1, bottom + 1.4 + row * STEP, width - 2)
        for room, others in reduced(links).items():
            for other in others:
                self.arrow(f"{name}/{room}", f"{name}/{other}", thick=False)

    def _row(self, package: str, shares: dict[str, float], left: float, bottom: float, width: float) -> None:
        """Rooms side by side."""
        for room, share in shares.items():
            each = width * share / sum(shares.values())
            self.box(f"{package}/{room}", (left + 0.6, bottom, each - 1.2, CHIP), "white")
            self.axes.text(left + each / 2, bottom + CHIP / 2, room, size=8.5, ha="center", va="center")
            left += each


def shares_of(rows: list[list[str]], links: Arrows) -> list[dict[str, float]]:
    """Return the width of each room, row by row: room for its arrows, above what they point to."""
    ends = [other for others in links.values() for other in others]
    places: dict[str, float] = {}
    shares = []
    for row in rows:
        degrees = {room: len(links[room]) + ends.count(room) for room in row}
        below = {room: sum(places[o] for o in links[room]) / (len(links[room]) or 1) for room in row}
        ordered = sorted(row, key=lambda room: (below[room], degrees[room], room))
        places |= {room: column / len(row) for column, room in enumerate(ordered)}
        shares.append({room: max(1.0, degrees[room]) for room in ordered})
    return shares


def height_of(links: Arrows) -> float:
    """Return the space that a package needs for its title and the rows of its rooms."""
    rows = len(rows_of(links))
    return HEAD + (1.0 + (rows - 1) * STEP + CHIP if rows else 0.0)


def widths_of(row: list[str], inside: dict[str, Arrows]) -> list[float]:
    """Shares of a row's width by the rooms that each package has."""
    wanted = [1 + len(inside[name]) for name in row]
    free = WIDTH - 2 * MARGIN - GAP * (len(row) - 1)
    return [free * share / sum(wanted) for share in wanted]


def draw(out: Path) -> None:
    """Write the picture, 800 pixels wide; the ending of the name says in which format."""
    between, inside = arrows()
    rows = rows_of(between)
    heights = [max(height_of(inside[name]) for name in row) for row in rows]
    total = 2 * MARGIN + sum(heights) + BETWEEN * (len(rows) - 1)
    figure, axes = plt.subplots(figsize=(8, 8 * total / WIDTH))
    drawing, bottom = Drawing(axes), MARGIN
    for row, height in zip(rows, heights, strict=True):
        left = MARGIN
        for name, width in zip(row, widths_of(row, inside), strict=True):
            drawing.package(name, inside[name], left, bottom + height - height_of(inside[name]), width)
            left += width + GAP
        bottom += height + BETWEEN
    for name, others in reduced(between).items():
        for other in others if name != FREE else ():
            drawing.arrow(name, other, thick=True)
    axes.set(xlim=(0, WIDTH), ylim=(0, total), aspect="equal")
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    figure.savefig(out, dpi=100, metadata={"Date": None} if out.suffix == ".svg" else None)
    plt.close(figure)


def main(
    out: Annotated[Path, typer.Option(help="The picture, .svg or .png")] = Path(
        "docs/images/architecture.svg"
    ),
) -> None:
    """Draw the packages, their rooms and who imports whom."""
    with matplotlib.rc_context({"svg.hashsalt": "architecture", "svg.fonttype": "none"}):
        draw(out)
    typer.echo(f"Written: {out}")


if __name__ == "__main__":
    typer.run(main)
