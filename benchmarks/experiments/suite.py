"""A suite, the cells (data, method, budget, seed) of one experiment, read from a small YAML file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from strategies.selectors.registry import METHODS
from strategies.settings import Settings

FOLDER = Path(__file__).parents[1] / "suites"


class SuiteError(ValueError):
    """An invalid suite or result; the text names the key or the file."""


_APART = 100_000  # between the seeds of two draws


def cell_name(method: str, budget: str, seed: int) -> str:
    """Return the name that identifies a cell in its suite, and names its file."""
    return f"{method}_{budget}_{seed}".replace(" ", "-").replace("/", "|")


@dataclass(frozen=True)
class Cell:
    """One run.

    :param first: strategy of the first stage; :param then: of every later one
    :param budget: labels of each stage, as "8+4"
    :param settings: selection settings, beyond those that follow from the other fields
    :param overrides: overrides of the app's training
    :param groups: pattern for the patient in an image's id, as the app's setting; a patient is never both in
        the pool and held out
    :param noise: share of labels that the annotator draws wrongly (`benchmarks/experiments/noise.py`)
    :param truth: share of the picks that show something, drawn at random by the true labels, instead of a
        strategy (`benchmarks/experiments/truth.py`); None for a strategy
    """

    app: str
    data: str
    method: str
    first: str
    then: str
    budget: str
    seed: int
    test_split: float
    encoder: str
    settings: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    groups: str = ""
    noise: float = 0.0
    truth: float | None = None

    @property
    def row(self) -> str:
        """Name of the method, without the number of the draw."""
        return re.sub(r", draw \d+$", "", self.method)

    @property
    def steps(self) -> list[int]:
        """Labels of each stage."""
        return [int(part) for part in self.budget.split("+")]

    @property
    def name(self) -> str:
        """Name of the cell, unique in its suite."""
        return cell_name(self.method, self.budget, self.seed)

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without empty optional ones: adding one leaves finished cells valid."""
        content = asdict(self)
        return {key: value for key, value in content.items() if value or key not in _OMITTED}


@dataclass(frozen=True)
class Claim:
    """A claim about two methods: `better` is better `than` the other, at these budgets.

    :param metric: the measure: more `dice`, more `all_dice` (of empty images too), less `hd95`, or less
        `spread`, the standard deviation of Dice over seeds
    """

    text: str
    better: str
    than: str
    budgets: list[str]
    metric: str = "dice"


@dataclass(frozen=True)
class Suite:
    """The cells of one experiment, its protocol in words, and the claims it tests.

    :param compare: methods that every other method is compared with
    """

    name: str
    protocol: str
    cells: list[Cell]
    claims: list[Claim]
    compare: list[str]

    @property
    def data(self) -> str:
        return self.cells[0].data


_KEYS = ("app", "data", "protocol", "overrides", "encoder", "test_split", "seeds", "cells", "claims")
_OPTIONAL = ("compare", "groups")
_METHOD_KEYS = ("first", "then", "settings", "encoder", "noise", "draws", "truth")
_OMITTED = ("groups", "noise", "truth")  # from a cell's JSON while empty
METRICS = ("dice", "all_dice", "hd95", "spread")


def read_suite(name: str) -> Suite:
    """Read a suite by its name in `benchmarks/suites`, or from a path. Raises SuiteError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise SuiteError(f"unknown suite {name!r}; choose one of {names}, or give the path of a .yaml file")
    return suite_of(yaml.safe_load(path.read_text()), path.stem)


def suite_of(content: dict[str, Any], name: str) -> Suite:
    """Build the suite that a file's content describes. Raises SuiteError."""
    wrong = [key for key in content if key not in (*_KEYS, *_OPTIONAL)]
    wrong += [key for key in _KEYS if key not in content]
    if wrong:
        raise SuiteError(
            f"{name}: {wrong[0]!r} is unknown or missing; a suite needs {', '.join(_KEYS)}, and may have "
            f"{', '.join(_OPTIONAL)}"
        )
    cells = list(_cells(content, name))
    repeated = [cell for cell, times in Counter(cell.name for cell in cells).items() if times > 1]
    if repeated:
        raise SuiteError(f"{name}: two cells have the same name {min(repeated)}")
    claims = [Claim(**{**claim, "budgets": list(map(str, claim["budgets"]))}) for claim in content["claims"]]
    rows = {(cell.row, cell.budget) for cell in cells}
    for claim in claims:
        missing = {(m, b) for m in (claim.better, claim.than) for b in claim.budgets} - rows
        if missing or claim.metric not in METRICS:
            problem = (
                f"no cells {min(missing)}"
                if missing
                else f"unknown metric {claim.metric!r}; choose one of: {', '.join(METRICS)}"
            )
            raise SuiteError(f"{name}, claim {claim.text!r}: {problem}")
    return Suite(name, content["protocol"], cells, claims, content.get("compare", ["random"]))


def _cells(suite: dict[str, Any], file: str) -> Iterator[Cell]:
    shared = {key: suite[key] for key in ("app", "data", "test_split", "overrides")}
    for seed in suite["seeds"]:  # outermost, so that an interrupted suite has complete seeds
        for group in suite["cells"]:
            for budget in map(str, group["budgets"]):
                for method, how in group["methods"].items():
                    _check(how, file, method)
                    for draw in range(how.get("draws", 1)):
                        yield _cell(method, how, suite, shared, (budget, seed, draw))


def _cell(
    method: str, how: dict[str, Any], suite: dict[str, Any], shared: dict[str, Any], at: tuple[str, int, int]
) -> Cell:
    """Build the cell of a method at (budget, seed, draw); further draws differ in the selection's seed."""
    budget, seed, draw = at
    first = how.get("first", "random")  # by the true labels, no strategy is asked
    return Cell(
        method=f"{method}, draw {draw + 1}" if draw else method,
        first=first,
        then=how.get("then", first),
        budget=budget,
        seed=seed,
        encoder=how.get("encoder", suite["encoder"]),
        settings=how.get("settings", {}) | ({"seed": seed + _APART * draw} if draw else {}),
        groups=suite.get("groups", ""),
        noise=how.get("noise", 0.0),
        truth=how.get("truth"),
        **shared,
    )


def _check(method_keys: dict[str, Any], file: str, method: str) -> None:
    if wrong := method_keys.keys() - set(_METHOD_KEYS):
        raise SuiteError(
            f"{file}, {method}: unknown key {min(wrong)!r}; a method may have {', '.join(_METHOD_KEYS)}"
        )
    truth = method_keys.get("truth")
    if truth is not None and ("first" in method_keys or not 0 < truth <= 1):
        raise SuiteError(f"{file}, {method}: give `first`, or `truth` above 0 and up to 1")
    first = method_keys.get("first", "random" if truth is not None else None)
    for strategy in (first, method_keys.get("then", first)):
        if strategy not in METHODS:
            raise SuiteError(
                f"{file}, {method}: unknown strategy {strategy!r}; choose one of: "
                f"{', '.join(sorted(METHODS))}"
            )
    settings = {item.name for item in fields(Settings)}
    if unknown := method_keys.get("settings", {}).keys() - settings:
        raise SuiteError(
            f"{file}, {method}: unknown setting {min(unknown)!r}; choose from: {', '.join(settings)}"
        )
