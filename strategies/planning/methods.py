"""Plans of the registry's methods: look up each method's input, let it pick, store the plan.

A cold method has one plan per input (features, uncertainties), a warm one a plan per model. `cold_start`,
`active`, `entropy`, `diversity` and `random` are planned elsewhere (`plans` in this package,
`strategies.ranking.rank`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.plans import Plan
from strategies.context import Context
from strategies.measures import CLASS, FOREGROUND
from strategies.planning.plans import MAX_PICKS, picks_of, unscored, versions
from strategies.selectors.clasp_pe import power_of_round
from strategies.selectors.numerics.distances import unit_rows
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot

OTSU = "otsu"  # source of foreground shares computed without a model
OWN_WAY = ("random", "cold_start", "active", "entropy", "diversity")
_POINTS = {"features", "unit_features", "map"}


class NotReadyError(ValueError):
    """A method lacks an input; the text says what to do."""


@dataclass(frozen=True)
class Source:
    """Input of a method besides points.

    :param name: identifies the source: a model, a pretraining, a threshold; empty for none
    :param values: by argument name, then by image; a list has one number per class
    """

    name: str
    model: Model | None
    values: dict[str, dict[str, float] | dict[str, list[float]]]


def planned_methods(context: Context) -> list[str]:
    """Return the methods planned here: those offered, and those of `auto`."""
    return [name for name in context.settings.used if name not in OWN_WAY]


def source_key(context: Context, name: str) -> tuple[str, Model | None]:
    """Return the name and model of a method's present source, without reading values.

    Raises NotReadyError when there is none.
    """
    method, models = METHODS[name], context.state.models.all()
    if "model" in method.needs or (FOREGROUND in method.needs and models):
        if not models:
            raise NotReadyError(
                f"{name} needs a trained model: label images (strategy auto or cold_start), then start a "
                "training (POST /train/segmentation)"
            )
        return models[0].fingerprint, models[0]
    if FOREGROUND in method.needs:
        return OTSU, None
    if "uncertainty" in method.needs:
        if context.pretrained_key is None:
            raise NotReadyError(
                f"{name} needs the uncertainties of a pretraining on this pool: start it (POST "
                "/train/pretraining, in an app that has it)"
            )
        return context.pretrained_key, None
    return "", None


def source_of(context: Context, pool: PoolSnapshot, name: str) -> Source:
    """Return the source that a method would be planned from now. Raises NotReadyError."""
    key, model = source_key(context, name)
    if model:
        return _source_of_model(context, pool, name, model)
    if not METHODS[name].values:
        return Source(key, None, {})
    if key == OTSU:
        kind, values = FOREGROUND, context.state.scores.measures(OTSU).get(FOREGROUND, {})
    else:
        kind, values = "uncertainty", context.state.scores.entropies(key)
    layout = context.layout()
    mapped = set(layout.images) if layout else set()
    lacking = sum(image in mapped and image not in values for image in pool.unlabelled)
    if lacking or layout is None:
        raise NotReadyError(f"the {kind} of {lacking} images is still being computed")
    return Source(key, None, {kind: values})


def _source_of_model(context: Context, pool: PoolSnapshot, name: str, model: Model) -> Source:
    entropies = context.state.scores.entropies(model.fingerprint)
    if not entropies or unscored(context, pool):
        raise NotReadyError("the newest model is still being applied to the pool")
    measures = context.state.scores.measures(model.fingerprint)
    kinds = sorted((k for k in measures if k.startswith(CLASS)), key=lambda kind: int(kind[len(CLASS) :]))
    images = entropies.keys() & measures.get(FOREGROUND, {}).keys()
    values: dict[str, dict[str, float] | dict[str, list[float]]] = {
        "uncertainty": {i: entropies[i] for i in images},
        "class_entropy": {i: [measures[kind][i] for kind in kinds] for i in images},
        FOREGROUND: {i: measures[FOREGROUND][i] for i in images},
    }
    return Source(model.fingerprint, model, {key: values[key] for key in METHODS[name].values})


def plan_key(context: Context, name: str, source: str) -> str:
    """Return the key of a method's plan for one source."""
    key = f"{name}|{context.layout_key}|{context.settings.cold_start_budget}|{source}"
    return f"{key}|{_alpha(context):g}" if name == "foreground_active" else key


def newest_plan(context: Context, name: str) -> tuple[Model | None, Plan] | None:
    """Return the plan of the newest model, or other source, that has one."""
    models = context.state.models.all() if METHODS[name].needs & {"model", FOREGROUND} else []
    others = ["", OTSU] + ([context.pretrained_key] if context.pretrained_key else [])
    sources = [(model, model.fingerprint) for model in models] + [(None, other) for other in others]
    for model, source in sources:
        if plan := context.state.plans.newest(plan_key(context, name, source)):
            return model, plan
    return None


def due_methods(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the methods that can be planned and have no plan for their present source."""
    return [name for name in planned_methods(context) if _is_due(context, pool, name)]


def _is_due(context: Context, pool: PoolSnapshot, name: str) -> bool:
    if context.layout() is None:
        return False
    try:
        key, _ = source_key(context, name)
        if context.state.plans.newest(plan_key(context, name, key)):
            return False
        source_of(context, pool, name)  # last: slow in a large pool
    except NotReadyError:
        return False
    return True


def make_method_plan(context: Context, pool: PoolSnapshot, name: str) -> Plan:
    """Plan a method from its present source and store the plan. Raises NotReadyError."""
    method, layout, source = METHODS[name], context.layout(), source_of(context, pool, name)
    if layout is None:
        raise NotReadyError("the pool is still being prepared")
    in_use, labelled = {*pool.labelled, *pool.unlabelled}, set(pool.labelled)
    available = [set(values) for values in source.values.values()]
    images = [i for i in layout.images if i in in_use and (i in labelled or all(i in v for v in available))]
    points = _points(context, layout, images, method.needs)
    n_classes = {key: len(v) for key, values in source.values.items() for v in _example_list(values)}
    values = {
        key: np.array(
            [by_image.get(i, [np.nan] * n_classes[key] if key in n_classes else np.nan) for i in images]
        )
        for key, by_image in source.values.items()
    }
    number = source.model.round if source.model else 0
    extra = _parameters(context, name, number)
    is_short = method.cold and method.needs & _POINTS
    chosen = method.select(
        points,
        context.settings.cold_start_budget if is_short else MAX_PICKS,
        labelled=[row for row, image in enumerate(images) if image in labelled],
        candidates=[row for row, image in enumerate(images) if image not in pool.skipped],
        groups=pool.group_rows(images),
        seed=context.settings.seed + number,
        **values,
        **extra,
    )
    details = {"seed": context.settings.seed + number, "round": number, "source": source.name, **extra}
    return context.state.plans.add(
        Plan(
            0,
            plan_key(context, name, source.name),
            name,
            layout.id,
            source.model.fingerprint if source.model else None,
            len(images),
            picks_of(images, chosen),
            {**details, "labelled": sorted(labelled), "paper": method.paper, "versions": versions()},
        )
    )


def _parameters(context: Context, name: str, number: int) -> dict[str, float]:
    """Return a method's extra arguments in round `number`."""
    if name == "clasp_pe":
        return {"beta": power_of_round(max(1, number))}
    return {"alpha": _alpha(context)} if name == "foreground_active" else {}


def _alpha(context: Context) -> float:
    """Return the alpha chosen on the map or configured; with a schedule, that of its first round."""
    chosen = context.active_alpha
    return context.settings.alpha if isinstance(chosen, str) else chosen


def _example_list(values: dict[str, float] | dict[str, list[float]]) -> list[list[float]]:
    """Return the first value in a list if the values are lists, else an empty list."""
    first = next(iter(values.values()), None)
    return [first] if isinstance(first, list) else []


def _points(context: Context, layout: Layout, images: list[str], needs: frozenset[str]) -> np.ndarray:
    if "map" in needs:
        row_of = {image: row for row, image in enumerate(layout.images)}
        return layout.points[[row_of[image] for image in images]]
    if not images or not needs & _POINTS:
        return np.zeros((len(images), 1))
    features = context.state.embeddings.vectors(context.encoder_key, images)
    return unit_rows(features) if "unit_features" in needs else features
