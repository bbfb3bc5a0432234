"""Stage and status of a pool, and the progress of background work as clients see it."""

from __future__ import annotations

import time
from typing import Any

from pool.protocol import PoolStore
from strategies.context import FIRST, LATER, Context
from strategies.measuring import measuring_text
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot

_MAX_SETS = 1_000  # duplicate sets listed in the status
_MAX_NAMED = 20  # refused labels among the warnings
STAGES = ("preparing", "cold_start", "bridging", "active", "done")


def stage_of(context: Context, pool: PoolSnapshot) -> str:
    """Derive the stage, one of STAGES, from labels and plans (`docs/selection.md`, stages)."""
    budget = context.settings.cold_start_budget
    remaining = pool.has_free() or pool.leased or pool.validation_open or pool.store.unchecked_labels
    if pool.images and not pool.failed and not remaining:
        return "done"
    if context.layout() is None or context.newest_plan(FIRST) is None:
        return "preparing"
    planned = context.newest_plan(LATER)
    # checked before the budget: removing a label must not restart the cold start
    if planned and planned[0] and len(planned[0].labelled) >= budget:
        return "active"
    return "cold_start" if pool.count_labelled() < budget else "bridging"


def training_due(settings: Settings, labelled: int, last: int | None) -> bool:
    """Return True if `auto_train` starts a training now.

    It does at cold_start_budget labels, then at every batch_size new ones.

    :param last: number of final labels of the newest training, or None before the first
    """
    if not settings.auto_train or labelled < settings.cold_start_budget:
        return False
    return last is None or last < settings.cold_start_budget or labelled - last >= settings.batch_size


def progress_of(context: Context) -> dict[str, Any] | None:
    """Return the progress of background work, or None if there was none.

    Rate (images per second) and seconds left are None while unknown.
    """
    row = context.state.progress.get()
    if row is None:
        return None
    rate = left = None
    if 0 < row["done"] < row["total"] and row["updated"] > row["started"]:
        rate = row["done"] / (row["updated"] - row["started"])
        left = round((row["total"] - row["done"]) / rate, 1)
    return {
        "step": row["step"],
        "done": row["done"],
        "total": row["total"],
        "per_second": rate and round(rate, 2),
        "seconds_left": left,
        "error": row["error"],
        "updated_seconds_ago": round(max(0.0, time.time() - row["updated"]), 1),
    }


def encoder_note(context: Context) -> str | None:
    """Return a remark about the encoder for the user, or None."""
    if context.is_pretrained_here and context.pretrained_key is None:
        return (
            "encoder csal3d is not pretrained yet: start the training `pretraining` (client.train_start("
            '"pretraining", {}), or Train in the viewer); until it is published, images are chosen at random'
        )
    if context.settings.encoder != "descriptor":
        return None
    return (
        "no encoder weights were given, so images are compared by a weight-free descriptor; "
        "--conf encoder radimagenet or transformers:<folder> uses a pretrained network"
    )


def validation_status(context: Context, pool: PoolSnapshot) -> dict[str, int]:
    """Count the held-out images, those labelled, and the budget."""
    labelled = sum(map(pool.store.is_labelled, pool.held_out))
    return {
        "labelled": labelled,
        "held_out": len(pool.measured_on),
        "budget": context.settings.validation_budget,
    }


def duplicate_sets(context: Context, pool: PoolSnapshot) -> list[list[str]]:
    """Return the sets of duplicates in the pool, sorted; none if detection is off."""
    if context.settings.duplicates == "off":
        return []
    sets = set(context.state.duplicates.sets().values())
    present = ([i for i in images if pool.store.has_image(i)] for images in sets)
    return sorted(images for images in present if len(images) > 1)


def warnings_of(pool: PoolSnapshot) -> list[str]:
    """Say what the pool's files keep people from doing, in words."""
    store, texts = pool.store, list[str]()
    if store.unwritable:
        texts.append(
            f"Nothing is handed out, since labels could not be saved ({store.unwritable}): make the studies "
            "folder writable for the server's user, then start the server again."
        )
    if store.ignored_files:
        texts.append(f"In the studies folder, {store.ignored_files}.")
    if waiting := sorted(store.unedited_labels):
        texts.append(
            f"{len(waiting)} labels equal a prediction or another label and wait to be confirmed: "
            f"{', '.join(waiting[:_MAX_NAMED])}{', ...' if len(waiting) > _MAX_NAMED else ''}."
        )
    refused = list(store.refused_labels.values())
    texts += [f"The label {label.file} does not count: {label.reason}" for label in refused[:_MAX_NAMED]]
    if more := len(refused) - _MAX_NAMED:
        texts += [f"{more} more labels do not count: GET /selection/status names them."] if more > 0 else []
    return texts


def instant_status(context: Context) -> dict[str, Any] | None:
    """Return what the instant model knows; None before the first label.

    `labels` is their number, `shown` the labels with each structure, `dice` cross-validated.
    """
    if not context.settings.instant or (head := context.state.heads.newest()) is None:
        return None
    facts = head.facts
    return {"labels": head.n_labels, "shown": facts["labels"], "dice": facts["dice"], "number": head.number}


def status(context: Context, pool: PoolSnapshot) -> dict[str, Any]:
    """Return the `selection` part of /info/: stage, round, counts, progress, encoder, model."""
    models, stage, layout = context.state.models.all(), stage_of(context, pool), context.layout()
    mapped = len(layout.images) if layout else 0
    return {
        "pool": context.state.pool_id(),
        "stage": stage,
        "round": models[0].round if models else 0,
        "images": len(pool.images),
        "labelled": pool.store.count_labelled(),
        "validation": validation_status(context, pool),
        "measuring": measuring_text(context, pool),
        "unchecked_labels": len(pool.store.unchecked_labels),
        "refused_labels": len(pool.store.refused_labels),
        "unedited_labels": len(pool.store.unedited_labels),
        "unlabelled": pool.count_unlabelled(),
        "failed": len(pool.failed),
        "warnings": warnings_of(pool),
        "skipped": len(pool.skipped),
        "handed_out": len(pool.leased),
        "duplicate_sets": len(duplicate_sets(context, pool)),
        "left_out": len(pool.left_out),
        "cold_start_budget": context.settings.cold_start_budget,
        "batch_size": context.settings.batch_size,
        "alpha": context.active_alpha,
        "seed": context.settings.seed,
        "encoder": context.encoder_key,
        "encoder_note": encoder_note(context),
        "projection": context.settings.projection,
        "map": {"images": mapped, "placed": mapped - layout.fitted if layout else 0},
        "model": models[0].fingerprint if models else None,
        "instant": instant_status(context),
        "provisional": stage == "preparing",
        "progress": progress_of(context),
    }


def status_now(context: Context, store: PoolStore, failures: bool = False) -> dict[str, Any]:
    """Return `status` of the pool as it is now; with `failures`, also unreadable images and duplicates."""
    pool = PoolSnapshot.of(context, store)
    answer = status(context, pool)
    if failures:
        answer |= {
            "failures": pool.failed,
            "label_failures": {image: label._asdict() for image, label in store.refused_labels.items()},
            "duplicates": duplicate_sets(context, pool)[:_MAX_SETS],
        }
    return answer
