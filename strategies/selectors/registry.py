"""Declaration of selection methods, by one decorator beside each rule.

Plans, settings, the client's list and the benchmark suites follow from the declarations. To add a method: one
file in this package, and one row in `docs/selection.md`; a package of its own names its module as an entry
point of the group `scan_selection.methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from string import Formatter
from typing import Any, TypeVar

from strategies.selectors.rules.selection import Selection

LEVY = "arXiv 2601.18532"
CSAL = "CSAL-3D, MICCAI 2025"
GROUP = "scan_selection.methods"  # entry points: each value is a module that declares methods
POINTS = frozenset({"features", "unit_features", "map"})
_VALUES = frozenset({"uncertainty", "class_entropy", "foreground"})
NEEDS = (*sorted(POINTS), *sorted(_VALUES), "model", "instant")
_KEY = "{name}|{layout}|{budget}|{source}"


@dataclass(frozen=True)
class Round:
    """Facts that the parameters of a plan may depend on.

    :param number: number of the model, from 1; 0 before the first
    :param alpha: weight of diversity
    :param most_clusters: maximum number of clusters, as configured
    """

    number: int = 0
    alpha: float = 0.3
    most_clusters: int = 20


@dataclass(frozen=True, eq=False)
class Method:
    """A selection method, as it is declared.

    :param select: called as select(points, budget, labelled=..., candidates=..., groups=..., seed=...), plus
        one value per row for each of uncertainty, class_entropy and foreground that it needs, by name, plus
        `parameters`; with `grows`, plus picked=...
    :param needs: names from NEEDS. Points are the encoder's features, unit-length features, or the map;
        without any of these three, only their number matters. `uncertainty` is the model's entropy if the
        method needs a `model`, that of the newest instant head if it needs `instant`, else that of CSAL-3D's
        reconstructions. A method that needs nothing has no plans: it orders the whole pool at once, and only
        `role` and `seed` are known to its reason.
    :param text: one line for the client's list
    :param reason: template of the reason for a pick, or one for each role, with names of the evidence and of
        facts (seed, round, alpha; with `each_label` structures and head_note) in braces
    :param plain: the same in a reader's words, without numbers, for pages, which show `reason` for a role
        that it leaves out and for a pick without the evidence that it names. It may also name the words that
        `strategies.ranking.plain_reasons` makes of the evidence: model, unsure, unlike, joined.
    :param parameters: further arguments of `select`: numbers, or functions of the round
    :param key: template of the key that plans are stored under; its first part is their kind. Methods with
        one key share their plans.
    :param facts: name in the answer -> name in the plan's details; without any, method and paper
    :param stage: stage in the answer; empty for that of the pool
    :param used_up: said when the plan has no free image left
    :param components: number of principal components of its points that the rule uses, which may be passed
        instead; 0 for the points themselves
    :param each_label: planned anew after each label; `select` is called with picked=..., the rows that are
        labelled or leased, which count for their groups, and if it needs foreground and there are slices of
        volumes, with position=..., that of each row from 0 to 1, or NaN
    :param each_model: planned anew for each model, though it needs none of its scores
    :param grows: the plan is begun before all images are scored, and extended in the same round
    :param whole_pool: the plan is made once, of all images, labelled and skipped ones included
    :param free_alpha: alpha may come from a request or from the adaptive schedule
    :param for_auto: may be chosen for `auto`, where its needs allow
    :param appends: a larger budget only adds picks at the end
    :param deterministic: without `labels=`, the order of rows only breaks ties
    """

    name: str
    select: Callable[..., Selection]
    paper: str
    needs: frozenset[str]
    text: str
    reason: str | Mapping[str, str]
    plain: str | Mapping[str, str] = ""
    parameters: Mapping[str, float | Callable[[Round], float]] = field(default_factory=dict)
    key: str = _KEY
    facts: Mapping[str, str] = field(default_factory=dict)
    stage: str = ""
    used_up: str = ""
    components: int = 0
    each_label: bool = False
    each_model: bool = False
    grows: bool = False
    whole_pool: bool = False
    free_alpha: bool = False
    for_auto: bool = True
    appends: bool = False
    deterministic: bool = False

    def explain(self, evidence: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        """Return the reason for one pick; clusters are numbered from 1 for people."""
        values = {**facts, **evidence}
        reason = self.reason if isinstance(self.reason, str) else self.reason[values["role"]]
        return _sentence(reason, values)

    def explain_plainly(self, evidence: Mapping[str, Any]) -> str | None:
        """Return the reason for one pick in a reader's words; None where none is declared, or can be told."""
        plain = self.plain if isinstance(self.plain, str) else self.plain.get(str(evidence.get("role")), "")
        known = {name: value for name, value in evidence.items() if value is not None}
        named = {name for _, name, _, _ in Formatter().parse(plain) if name}
        return _sentence(plain, known) if plain and named <= known.keys() else None

    def arguments(self, of: Round) -> dict[str, float]:
        """Return the values of `parameters` in a round."""
        return {name: value(of) if callable(value) else value for name, value in self.parameters.items()}

    @property
    def cold(self) -> bool:
        """True if it works before there is a model."""
        return "model" not in self.needs

    @property
    def from_head(self) -> bool:
        """True if its scores come from the newest instant head, and not from a trained model."""
        return "instant" in self.needs

    @property
    def kind(self) -> str:
        """Kind of its plans: its own name, or that of the method it is a variant of."""
        return self.key.partition("|")[0].format(name=self.name)

    @property
    def values(self) -> list[str]:
        """Names of the arguments of `select` with one value per row."""
        return sorted(self.needs & _VALUES)

    @property
    def is_endless(self) -> bool:
        """True if it has picks past the budget of the cold start: it plans after each label, or never."""
        return self.each_label or not self.needs

    @property
    def begins_auto(self) -> bool:
        """True if `auto` may pick by it before the first model: it needs only images, or their labels."""
        return self.for_auto and self.cold and (self.needs <= POINTS or self.from_head)

    @property
    def continues_auto(self) -> bool:
        """True if `auto` may pick by it once there is a model: its plans follow a model, or it has none."""
        follows = self.each_model or bool(self.needs & {"model", "foreground", "instant"})
        return self.for_auto and (not self.needs or follows)


def _sentence(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template; clusters are numbered from 1 for people."""
    shown = {**values, "cluster": values["cluster"] + 1} if "cluster" in values else values
    sentence = template.format(**shown)
    return sentence[:1].upper() + sentence[1:]


METHODS: dict[str, Method] = {}
Select = TypeVar("Select", bound=Callable[..., Selection])


def method(
    name: str, *, paper: str, text: str, reason: str | Mapping[str, str], needs: str = "", **more: Any
) -> Callable[[Select], Select]:
    """Declare the decorated rule as a method; arguments as in `Method`, `needs` separated by spaces.

    Raises ValueError for an unknown need, and for a name that another module has declared.
    """
    inputs = frozenset(needs.split())
    if unknown := inputs.difference(NEEDS):
        raise ValueError(f"method {name} needs {min(unknown)!r}; choose from: {', '.join(NEEDS)}")
    if "alpha" in more.get("parameters", {}):
        more = {"key": _KEY + "|{alpha}"} | more

    def declare(select: Select) -> Select:
        other = METHODS.get(name)
        if other and other.select.__module__ != select.__module__:
            modules = f"{other.select.__module__} and {select.__module__}"
            raise ValueError(f"method {name} is declared by {modules}: rename or remove one of them")
        METHODS[name] = Method(name, select, paper, inputs, text, reason, **more)
        return select

    return declare


def method_of_key(key: str) -> Method | None:
    """Return the method whose plans have a key, None if it is nobody's.

    Of methods that share their plans, it is the one declared with the alpha in the key, else the one that the
    others are variants of: `active` with alpha 0 is `entropy`.
    """
    kind, alpha = key.partition("|")[0], key.rpartition("|")[2]
    for one in METHODS.values():
        declared = one.parameters.get("alpha")
        if one.kind == kind and isinstance(declared, int | float) and f"{declared:g}" == alpha:
            return one
    return METHODS.get(kind)


def find_methods(package: str, folders: list[str]) -> None:
    """Import the modules of a package, and those that installed packages name as entry points of GROUP.

    Raises ImportError, which names the package, for an entry point that cannot be imported.
    """
    for module in iter_modules(folders):
        import_module(f"{package}.{module.name}")
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except (ImportError, AttributeError) as error:
            origin = point.dist.name if point.dist else point.value
            raise ImportError(
                f"the methods of package {origin} cannot be imported ({error}): install what it needs, or "
                "uninstall it"
            ) from error
