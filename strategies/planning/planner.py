"""The planner: which plans there are, which are due, and making them. One way for all methods."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

from pool.database.plans import Plan
from strategies.context import FIRST, LATER, Context, plain
from strategies.planning import each_label
from strategies.planning.inputs import columns_of, inputs_of, points_of
from strategies.planning.sources import (
    NotReadyError,
    Source,
    check_complete,
    source_of,
    unscored,
    values_of,
)
from strategies.planning.weights import weight_of
from strategies.selectors import Selection
from strategies.selectors.registry import METHODS, POINTS, Method, Round
from strategies.snapshot import PoolSnapshot

MAX_PICKS = 500  # of one plan, unless its method is cold and compares images
_MIN_SCORED = 50  # images to score before the first plan of a round


class Series(NamedTuple):
    """The plans under one key: a method with its source and diversity weight (a number or "adaptive")."""

    method: Method
    source: Source
    alpha: float | str


class Choice(NamedTuple):
    """Picks of a method, with the facts that its plan keeps.

    :ivar picks: image and evidence of each, in order
    :ivar images: the images that it chose from; row i of `selection.measures` is images[i]
    """

    picks: list[dict[str, Any]]
    images: list[str]
    selection: Selection
    details: dict[str, Any]


class Planner:
    """Plans of one pool: tell which are due, and make them; `Context.newest_plan` looks them up."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def series(self, name: str, alpha: float | str | None = None, source: Source | None = None) -> Series:
        """Return a method's series from its present source. Raises NotReadyError without one."""
        method = METHODS[name]
        alpha = self.context.alpha_of(method) if alpha is None else alpha
        return Series(method, source or source_of(self.context, method), alpha)

    def key(self, series: Series) -> str:
        """Return the key of a series' plans."""
        return self.context.plan_key(series.method, series.source.name, series.alpha)

    def due(
        self, pool: PoolSnapshot, kind: Callable[[Method], bool], complete: bool | None = None
    ) -> list[Series]:
        """Return the series of one kind of method that can be planned now and are not.

        :param complete: the newest model has scored all images; None to find out
        """
        if self.context.layout() is None:
            return []
        series = [s for s in self._wanted() if kind(s.method)]
        if complete is None and any(s.method.grows for s in series):
            complete = not unscored(self.context, pool)
        due = [s for s in series if self._is_due(pool, s, bool(complete))]
        due += [s for one in series if one not in due and (s := self._to_extend(pool, one))]
        return list({self.key(s): s for s in due}.values())

    def ask(self, name: str, alpha: float, client: str) -> None:
        """Have the plans of an alpha made that a client asks for, by the next refresh."""
        marks = self.context.state.marks
        if alpha != self.context.alpha_of(METHODS[name]) and (name, alpha) not in marks.asked_alphas():
            marks.ask_alpha(name, alpha, client)

    def _wanted(self) -> Iterator[Series]:
        """Yield what is to be planned: for the stages, for `auto`, of the offered methods, for clients."""
        settings = self.context.settings
        names = dict.fromkeys([FIRST.name, LATER.name, *settings.used])
        asked = [(name, a) for name, a in self.context.state.marks.asked_alphas() if name in names]
        for name, alpha in [*((name, None) for name in names if METHODS[name].needs), *asked]:
            try:
                yield self.series(name, alpha)
            except NotReadyError:
                continue

    def _is_due(self, pool: PoolSnapshot, series: Series, complete: bool) -> bool:
        plan = self.context.state.plans.newest(self.key(series))
        if series.method.grows:
            return self._may_grow(series, plan, complete)
        if plan and not (series.method.each_label and self._is_outdated(pool, series, plan)):
            return False
        try:  # last: slow in a large pool
            check_complete(
                self.context, pool, series.source, values_of(self.context, series.method, series.source)
            )
        except NotReadyError:
            return False
        return True

    def _is_outdated(self, pool: PoolSnapshot, series: Series, plan: Plan) -> bool:
        """Return True if a label has come or gone since a plan, or none of its images is free."""
        if plan.details[each_label.LABELS] != each_label.labels_fingerprint(pool.labelled):
            return True
        layout = self.context.layout()
        if layout is None or not pool.has_free() or any(pool.is_free(pick["image"]) for pick in plan.picks):
            return False
        values = values_of(self.context, series.method, series.source)
        return bool(inputs_of(layout, pool, series.method, values, None).roles["candidates"])

    def _may_grow(self, series: Series, plan: Plan | None, complete: bool) -> bool:
        """Return True at enough scored images, when their number doubles, and when scoring is complete."""
        count = self.context.state.scores.count(series.source.name)
        if plan is None:
            enough = max(_MIN_SCORED, 10 * self.context.settings.batch_size)
            return count > 0 and (complete or count >= enough)
        return count >= 2 * plan.scored or (complete and count > plan.scored)

    def _to_extend(self, pool: PoolSnapshot, series: Series) -> Series | None:
        """Return the series of the round in use if its plan is used up and free images are not in it."""
        if not series.method.grows or not pool.has_free():
            return None
        layout = self.context.layout()
        model, plan = self.context.newest_plan(series.method, series.alpha) or (None, None)
        if layout is None or model is None or plan is None:
            return None
        if any(pool.is_free(pick["image"]) for pick in plan.picks):
            return None
        source = Source(model.fingerprint, model)
        values = values_of(self.context, series.method, source)
        left = inputs_of(layout, pool, series.method, values, plan).roles["candidates"]
        return series._replace(source=source) if left else None

    def choose(self, pool: PoolSnapshot, series: Series, count: int, earlier: Plan | None = None) -> Choice:
        """Let a method pick; store nothing. Raises NotReadyError.

        :param earlier: the round's plan so far, for a method that grows
        """
        method, source, alpha = series
        context, layout = self.context, self.context.layout()
        if layout is None:
            raise NotReadyError("the pool is still being prepared")
        values = values_of(context, method, source)
        if not method.grows:
            check_complete(context, pool, source, values)
        inputs = inputs_of(layout, pool, method, values, earlier)
        images, number = inputs.images, source.model.round if source.model else 0
        columns = columns_of(images, values)
        if method.each_label:
            columns |= each_label.extra_columns(method, source.head, images, inputs.roles["labelled"])
        weight, why = weight_of(context, source.model, alpha)
        arguments = method.arguments(Round(number, weight, context.settings.most_clusters))
        seed = context.settings.seed + (0 if method.grows else number)
        selection = method.select(
            points_of(context, layout, images, method),
            count,
            groups=pool.group_rows(images),
            seed=seed,
            **inputs.roles,
            **columns,
            **arguments,
        )
        details = {"seed": seed, "versions": versions()}
        details |= {name: plain(value) for name, value in selection.details.items()}
        picks = _picks(images, selection)
        if method.each_label:
            details |= {
                "head": source.head and source.head.number,
                "n_labelled": len(inputs.start),
                **arguments,
            }
            details[each_label.LABELS] = each_label.labels_fingerprint(inputs.start)
            is_placed = "position" in columns
            picks = each_label.with_reasons(method, picks, source.head, len(inputs.start), is_placed)
        elif not method.whole_pool:
            details |= {"round": number, "labelled": inputs.start, **arguments}
        known = {"alpha_why": why, "source": source.name, "paper": method.paper}
        details |= {name: known[name] for name in known if name in (method.facts or ("source", "paper"))}
        return Choice(picks, images, selection, details)

    def make(self, pool: PoolSnapshot, series: Series) -> Plan:
        """Plan, or extend the plan of a round, and store it. Raises NotReadyError."""
        method, source, _ = series
        state, key, layout = self.context.state, self.key(series), self.context.layout()
        earlier = state.plans.newest(key) if method.grows else None
        count = self._count_of(method)
        choice = self.choose(pool, series, count, earlier)
        assert layout is not None  # or `choose` has refused
        given = {*pool.labelled, *pool.leased}
        kept = [pick for pick in (earlier.picks if earlier else []) if pick["image"] in given]
        for name, numbers in choice.selection.measures.items():
            by_image = zip(choice.images, numbers.tolist(), strict=True)
            state.scores.add_measures(key, {image: {name: float(number)} for image, number in by_image})
        return state.plans.add(
            Plan(
                0,
                key,
                method.kind,
                layout.id,
                source.model.fingerprint if source.model else None,
                state.scores.count(source.name) if method.grows else len(choice.images),
                kept + choice.picks,
                choice.details,
            )
        )

    def _count_of(self, method: Method) -> int:
        """Return the number of picks of a plan."""
        if method.each_label:
            return each_label.PICKS
        is_short = method.cold and method.needs & POINTS and not method.each_model
        return self.context.settings.cold_start_budget if is_short else MAX_PICKS


def _picks(images: list[str], selection: Selection) -> list[dict[str, Any]]:
    """Convert a selection to JSON: image and evidence per pick; the selector's row i is `images[i]`."""
    names = sorted(selection.evidence)
    return [
        {"image": images[row], **{n: plain(selection.evidence[n][i]) for n in names}}
        for i, row in enumerate(selection.picks)
    ]


def versions() -> dict[str, str]:
    """Return the versions of the software that determines the picks, for the ledger."""
    names = ("numpy", "scikit-learn", "numba", "openTSNE", "torch", "monai", "monailabel")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
