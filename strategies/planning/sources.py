"""Sources of the scores that methods need: a model, an instant head, a pretraining, or a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pool.database.heads import Head
from pool.database.models import Model
from strategies.context import OTSU, Context
from strategies.measures import CLASS, FOREGROUND
from strategies.selectors.registry import METHODS, Method
from strategies.snapshot import PoolSnapshot

Values = Mapping[str, Mapping[str, float] | Mapping[str, list[float]]]


class NotReadyError(ValueError):
    """A method lacks an input; the text says what to do."""


@dataclass(frozen=True)
class Source:
    """Source of a method's scores: model, head, pretraining or threshold; the name is empty for none."""

    name: str
    model: Model | None = None
    head: Head | None = None


def source_of(context: Context, method: Method) -> Source:
    """Return a method's present source, without reading scores. Raises NotReadyError when there is none."""
    if method.from_head:  # works without one, too
        head = context.state.heads.newest()
        return Source(head.source if head else "", head=head)
    models = context.state.models.all()
    if "model" in method.needs or ((method.each_model or FOREGROUND in method.needs) and models):
        if not models:
            raise NotReadyError(
                f"{method.name} needs a trained model: label images (strategy auto or cold_start), then "
                "start a training (POST /train/segmentation)"
            )
        return Source(models[0].fingerprint, models[0])
    name = context.source_without_model(method)
    if name is None:
        raise NotReadyError(
            f"{method.name} needs the uncertainties of a pretraining on this pool: start it (POST "
            "/train/pretraining, in an app that has it)"
        )
    return Source(name)


def values_of(context: Context, method: Method, source: Source) -> Values:
    """Return a method's scores by argument name, then by image; of class_entropy, one number per class.

    An image that lacks one of a model's scores has none.
    """
    if not method.values:
        return {}
    scores = context.state.scores
    if method.from_head:
        return _values_of_head(context, method, source) if source.head else {}
    if source.model is None:
        if source.name == OTSU:
            return {FOREGROUND: scores.measures(OTSU).get(FOREGROUND, {})}
        return {"uncertainty": scores.entropies(source.name)}
    entropies = scores.entropies(source.name)
    if not method.needs & {"class_entropy", FOREGROUND}:
        return {"uncertainty": entropies}
    measures = scores.measures(source.name)
    kinds = sorted((k for k in measures if k.startswith(CLASS)), key=lambda kind: int(kind[len(CLASS) :]))
    images = entropies.keys() & measures.get(FOREGROUND, {}).keys()
    values: Values = {
        "uncertainty": {i: entropies[i] for i in images},
        "class_entropy": {i: [measures[kind][i] for kind in kinds] for i in images},
        FOREGROUND: {i: measures[FOREGROUND][i] for i in images},
    }
    return {name: values[name] for name in method.values}


def _values_of_head(context: Context, method: Method, source: Source) -> Values:
    """Return the scores by a head; `foreground` of a labelled image is 1 or 0, as its label shows it."""
    values: dict[str, Mapping[str, float]] = {}
    if "uncertainty" in method.needs:
        values["uncertainty"] = context.state.scores.entropies(source.name)
    if FOREGROUND in method.needs:
        values[FOREGROUND] = context.state.scores.measures(source.name, FOREGROUND).get(FOREGROUND, {})
    return values


def check_complete(context: Context, pool: PoolSnapshot, source: Source, values: Values) -> None:
    """Raise NotReadyError if scores of unlabelled images on the map are still being computed."""
    if not values:
        return
    if source.model:
        if not any(values.values()) or unscored(context, pool):
            raise NotReadyError("the newest model is still being applied to the pool")
        return
    layout = context.layout()
    mapped = set(layout.images) if layout else set()
    for kind, by_image in values.items():
        if lacking := sum(image in mapped and image not in by_image for image in pool.unlabelled):
            raise NotReadyError(f"the {kind} of {lacking} images is still being computed")


def unscored(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the unlabelled images on the map still to be scored by the newest model, up to `max_scored`."""
    models, layout, limit = context.state.models.all(), context.layout(), context.settings.max_scored
    if not models or not layout or 0 < limit <= context.state.scores.count(models[0].fingerprint):
        return []
    values, mapped = _scored_by(context, models[0]), set(layout.images)
    return [image for image in pool.unlabelled if image not in values and image in mapped]


def _scored_by(context: Context, model: Model) -> set[str]:
    """Return the images that a model has scored, foreground included if a method in use needs it."""
    images = set(context.state.scores.entropies(model.fingerprint))
    used = [METHODS[name] for name in context.settings.used]
    if any(m.needs & {"class_entropy", FOREGROUND} and not m.from_head for m in used):
        images &= context.state.scores.measures(model.fingerprint, FOREGROUND).get(FOREGROUND, {}).keys()
    return images


def to_threshold(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the images whose foreground share is needed before there is a model."""
    offered = [METHODS[name] for name in context.settings.methods]
    if context.state.models.all() or not any(
        m.cold and FOREGROUND in m.needs and not m.from_head for m in offered
    ):
        return []
    foreground = context.state.scores.measures(OTSU).get(FOREGROUND, {})
    return [image for image in pool.unlabelled if image not in foreground]
