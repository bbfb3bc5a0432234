"""Plans of a search on one data set: methods, budgets, and the seeds of each phase, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.experiments.suite import SuiteError
from strategies.selectors.registry import METHODS

COVERAGE = "coverage"  # the phase that fits no heads
FOLDER = Path(__file__).parent / "plans"


@dataclass(frozen=True)
class Arm:
    """One way to choose labels.

    :param select: name of a selection method; empty for ground truth
    :param parameters: further arguments of the method
    :param groups: one image per patient in a turn
    :param draws: draws per split, which are averaged
    :param heads: methods that ask the instant head get one; else they know positions and labels alone
    :param truth: share of the picks whose true label is not empty, drawn at random; for experiments only,
        since nobody knows it beforehand
    """

    name: str
    select: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    groups: bool = True
    draws: int = 1
    truth: float | None = None
    heads: bool = True


@dataclass(frozen=True)
class Phase:
    """Seeds on which some methods run. A seed draws the held-out images, and starts the head and methods."""

    seeds: list[int]
    arms: list[Arm]


@dataclass(frozen=True)
class SearchPlan:
    """The comparison on one data set.

    :param classes: values of the structures in the masks
    :param groups: pattern for the patient in an image's id; empty where each image is its own
    :param budgets: numbers of labels; the labels of a larger one contain those of a smaller one
    :param phases: by name: coverage, headroom, development, decision
    """

    name: str
    data: str
    classes: list[int]
    encoder: str
    budgets: list[int]
    phases: dict[str, Phase]
    groups: str = ""
    test_split: float = 0.2


def read_plan(name: str) -> SearchPlan:
    """Read a plan by its name, or from a path. Raises SuiteError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise SuiteError(f"unknown plan {name!r}; choose one of {names}, or give the path of a .yaml file")
    return plan_of(yaml.safe_load(path.read_text()), path.stem)


def plan_of(content: dict[str, Any], name: str) -> SearchPlan:
    """Build the plan that a file's content describes. Raises SuiteError."""
    try:
        arms = {own: Arm(own, **how) for own, how in content.pop("methods").items()}
        phases = {
            phase: Phase(how["seeds"], [arms[own] for own in how["methods"]])
            for phase, how in content.pop("phases").items()
        }
        plan = SearchPlan(name=name, phases=phases, **content)
    except (KeyError, TypeError, AttributeError) as error:
        raise SuiteError(f"{name}: {type(error).__name__}: {error}") from error
    for arm in arms.values():
        if (arm.truth is None) != (arm.select in METHODS):
            raise SuiteError(
                f"{name}, {arm.name}: give `select`, one of {', '.join(sorted(METHODS))}, or `truth`"
            )
    return plan
