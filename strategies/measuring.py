"""Measuring trained models by itself: images held out one by one (`hold_out`), from 20 labels on."""

from __future__ import annotations

from pool.database.state import State
from strategies.context import Context
from strategies.snapshot import PoolSnapshot

# client names in the marks of drawn images, which are the settings that ask for them
DRAWN, DRAWN_SINGLY = "validation_budget", "hold_out"
MIN_LABELS = 20  # from which on `hold_out` draws; with fewer, each label is needed for training
EVERY = 5  # hand-outs from one drawn image to the next


def is_one_due(context: Context, pool: PoolSnapshot) -> bool:
    """Return True when the next image to be handed out is to be held out, by the setting `hold_out`."""
    if len(pool.measured_on) >= context.settings.hold_out or pool.count_labelled() < MIN_LABELS:
        return False
    marks = context.state.marks
    if not marks.measures() or pool.validation_open:
        return False
    last = marks.newest(DRAWN_SINGLY)
    return last is None or context.state.ledger.count_labels(last) >= EVERY


def decide_measures(state: State) -> None:
    """Let a pool be measured by `hold_out` if it is new, so that one of a former version stays as it was."""
    if state.marks.measures() is None:
        state.marks.decide_measures(not state.models.all() and not state.ledger.count_labels(0.0))


def measuring_text(context: Context, pool: PoolSnapshot) -> str:
    """Say how models are measured now, and what comes."""
    count = len(pool.measured_on)
    now = f"Trained models are measured on {count} held-out images" if count else "No image is held out"
    budget = context.settings.hold_out
    if count >= budget or not context.state.marks.measures():
        return f"{now}."
    every = f"every fifth image handed out is held out, up to {budget}"
    if pool.count_labelled() >= MIN_LABELS:
        return f"{now}; {every}."
    return f"{now}. Until there are {MIN_LABELS} labels, Dice is cross-validated on them; then {every}."
