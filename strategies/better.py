"""The model whose predictions people start from: the one with the highest measured Dice."""

from __future__ import annotations

from dataclasses import dataclass

from bundle_configs import Bundle
from infers.metrics import summarise
from infers.segmentation.task import model_fingerprint
from strategies.context import Context


@dataclass(frozen=True)
class Candidate:
    """A model that can predict now.

    :param name: as in `/info/`
    :param dice: measured on held-out images, of the instant model by cross-validation; None if unknown
    """

    name: str
    fingerprint: str
    dice: float | None


def candidates(context: Context, bundle: Bundle) -> list[Candidate]:
    """Return the models of a pool, best first; those without a measured Dice come last, the trained first."""
    models = []
    if fingerprint := model_fingerprint(context.model_file):
        models.append(Candidate("segmentation", fingerprint, _held_out_dice(context, bundle, fingerprint)))
    if context.settings.instant and (head := context.state.heads.newest()):
        models.append(Candidate("instant", head.fingerprint, head.facts.get("dice")))
    return sorted(models, key=lambda model: -1.0 if model.dice is None else model.dice, reverse=True)


def _held_out_dice(context: Context, bundle: Bundle, fingerprint: str) -> float | None:
    if not (scores := context.state.validations.of(fingerprint)):
        return None
    try:
        return float(summarise(scores, list(bundle.get("labels")), bundle.get("metric"))["dice"])
    except ValueError:  # no held-out image shows a structure
        return None
