"""Plans of a search on one data set: methods, budgets, and the seeds of each phase, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.experiments.suite import SuiteError
from strategies.selectors.registry import METHODS

COVERAGE = "coverage"  # the phase that fits no heads
POSITION, NONE = "position", "none"  # features that need no encoder
UNCERTAINTIES = ("entropy", "likely entropy", "bald")
FOLDER = Path(__file__).parent / "plans"


@dataclass(frozen=True)
class Rounds:
    """Rounds after a cold start, each with a head fitted on all labels so far.

    :param start: labels of the cold start
    :param size: labels of a round
    :param select: name of the method that chooses them
    :param parameters: further arguments of that method
    :param uncertainty: for methods that ask for it, the head's mean `entropy`, that of places which may show
        something (`likely entropy`), or `bald`, the disagreement of bootstraps
    """

    start: int
    size: int
    select: str
    parameters: dict[str, Any] = field(default_factory=dict)
    uncertainty: str = "entropy"

    def __post_init__(self) -> None:
        if self.select not in METHODS or self.uncertainty not in UNCERTAINTIES:
            raise SuiteError(
                f"rounds: `select` is one of {', '.join(sorted(METHODS))}, "
                f"`uncertainty` one of {', '.join(UNCERTAINTIES)}"
            )


@dataclass(frozen=True)
class Arm:
    """One way to choose labels.

    :param select: name of a selection method; empty for ground truth
    :param parameters: further arguments of the method
    :param groups: one image per patient in a turn
    :param draws: draws per split, which are averaged
    :param heads: methods that ask the instant head get one; else they know positions and labels alone
    :param positions: methods that ask for the position of slices get it
    :param features: by which the method compares images: `position`, `none` (noise), or an encoder; empty for
        the plan's
    :param noise: share of the labels that the method and its head see wrongly, as those of other images
    :param rounds: that follow, if the method chooses only the first labels
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
    positions: bool = True
    features: str = ""
    noise: float = 0.0
    rounds: Rounds | None = None


@dataclass(frozen=True)
class Phase:
    """Seeds on which some methods run. A seed draws the held-out images, and starts the head and methods.

    :param against: name of the method that its table compares the others with; empty for random ones
    """

    seeds: list[int]
    arms: list[Arm]
    against: str = ""


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

    @property
    def encoders(self) -> set[str]:
        """Names of further encoders that methods compare images by."""
        arms = (arm for phase in self.phases.values() for arm in phase.arms)
        return {arm.features for arm in arms} - {"", POSITION, NONE}


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
        arms = {own: _arm(own, **how) for own, how in content.pop("methods").items()}
        phases = {
            phase: Phase(how["seeds"], [arms[own] for own in how["methods"]], how.get("against", ""))
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


def _arm(name: str, rounds: dict[str, Any] | None = None, **how: Any) -> Arm:
    return Arm(name, **how, rounds=Rounds(**rounds) if rounds else None)
