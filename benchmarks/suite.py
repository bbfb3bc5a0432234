"""A suite: which cells (data, method, budget, seed) make up one experiment, from a small YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from strategies.selectors.registry import METHODS
from strategies.settings import Settings

FOLDER = Path(__file__).parent / "suites"


class SuiteError(ValueError):
    """A suite that cannot be meant; the text names the key."""


@dataclass(frozen=True)
class Cell:
    """One run.

    :param first: strategy of the first stage; :param then: of every later one
    :param budget: labels of each stage, as "8+4"
    :param settings: of the selection, beside those that follow from the others
    :param overrides: of the app's training
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

    @property
    def steps(self) -> list[int]:
        """Labels of each stage."""
        return [int(part) for part in self.budget.split("+")]

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.method}_{self.budget}_{self.seed}".replace(" ", "-")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Claim:
    """Something that is said of two methods: `better` has more Dice `than` the other, at these budgets."""

    text: str
    better: str
    than: str
    budgets: list[str]


@dataclass(frozen=True)
class Suite:
    """The cells of one experiment, what its table says of the protocol, and the claims that it answers."""

    name: str
    protocol: str
    cells: list[Cell]
    claims: list[Claim]


_KEYS = ("app", "data", "protocol", "overrides", "encoder", "test_split", "seeds", "cells", "claims")


def read_suite(name: str) -> Suite:
    """The suite of a name in `benchmarks/suites`, or of a path. Raises SuiteError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in FOLDER.glob("*.yaml")))
        raise SuiteError(f"there is no suite {name!r}; there are: {there}, or the path of a .yaml file")
    found = yaml.safe_load(path.read_text())
    wrong = [key for key in found if key not in _KEYS] + [key for key in _KEYS if key not in found]
    if wrong:
        raise SuiteError(f"{path.name}: {wrong[0]!r} is unknown or missing; a suite has {', '.join(_KEYS)}")
    cells = list(_cells(found, path.name))
    twice = {cell.name for cell in cells if sum(other.name == cell.name for other in cells) > 1}
    if twice:
        raise SuiteError(f"{path.name}: two cells would be called {sorted(twice)[0]}")
    claims = [Claim(**{**claim, "budgets": list(map(str, claim["budgets"]))}) for claim in found["claims"]]
    return Suite(path.stem, found["protocol"], cells, claims)


def _cells(suite: dict[str, Any], file: str) -> Iterator[Cell]:
    shared = {key: suite[key] for key in ("app", "data", "test_split", "encoder", "overrides")}
    for seed in suite["seeds"]:  # first, so that an interrupted suite has whole seeds
        for group in suite["cells"]:
            for budget in map(str, group["budgets"]):
                for method, how in group["methods"].items():
                    settings = how.get("settings", {})
                    _check(how, settings, file, method)
                    then = how.get("then", how["first"])
                    yield Cell(
                        method=method,
                        first=how["first"],
                        then=then,
                        budget=budget,
                        seed=seed,
                        settings=settings,
                        **shared,
                    )


def _check(how: dict[str, Any], settings: dict[str, Any], file: str, method: str) -> None:
    for strategy in (how.get("first"), how.get("then", how.get("first"))):
        if strategy not in METHODS:
            raise SuiteError(f"{file}, {method}: no strategy {strategy!r}; there are: {', '.join(METHODS)}")
    known = {item.name for item in fields(Settings)}
    if unknown := settings.keys() - known:
        raise SuiteError(
            f"{file}, {method}: no setting {sorted(unknown)[0]!r}; there are: {', '.join(known)}"
        )
