"""By which methods `auto` chooses images, in words."""

from __future__ import annotations

from bundle_configs import Bundle
from strategies.selectors.registry import METHODS
from strategies.settings import PRODUCT, Settings


def choosing_text(settings: Settings, bundle: Bundle) -> str:
    """Say by which methods `auto` chooses images, and what speaks for the default ones."""
    names = settings.of_auto
    first, later = (METHODS[name].text[:1].lower() + METHODS[name].text[1:] for name in names)
    text = f"How images are chosen, up to {settings.cold_start_budget} labels: {first}. Later: {later}."
    if first == later:
        text = f"How images are chosen: {first}."
    chosen = {**PRODUCT, **bundle.selection}
    if names == (default := (chosen["cold_start_method"], chosen["active_method"])):
        return f"{text} {bundle.evidence}".strip()
    return f"{text} --conf says so; the default is {' and '.join(dict.fromkeys(default))}."
