"""Weight of diversity (alpha) in a plan: as chosen, or following the models."""

from __future__ import annotations

from pool.database.models import Model
from strategies import selectors
from strategies.context import Context


def weight_of(context: Context, model: Model | None, alpha: float | str) -> tuple[float, str]:
    """Return the diversity weight in a model's plan, and the reason; a numeric alpha is returned as is.

    "adaptive" compares the entropies of this model with those of the newest older model that has any
    (`selectors.adaptive_alpha`), over the images that both have scored by now.
    """
    if model is None or not isinstance(alpha, str):
        return float(alpha), "as configured" if alpha == context.settings.alpha else "as requested"
    now = context.state.scores.entropies(model.fingerprint)
    older = (m for m in context.state.models.all() if m.round < model.round)
    before = next(
        (entropies for m in older if (entropies := context.state.scores.entropies(m.fingerprint))), {}
    )
    shared = sorted(now.keys() & before.keys())
    weight, agreement = selectors.adaptive_alpha(
        [now[image] for image in shared], [before[image] for image in shared], context.settings.alpha
    )
    if agreement is None:
        return weight, "adaptive: there is no earlier model to compare with, so the configured alpha"
    return weight, f"adaptive: its entropies correlate by {agreement:.2f} with those of the previous model"
