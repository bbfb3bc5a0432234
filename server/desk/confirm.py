"""Confirming labels that equal a prediction; imports nothing heavy, as a command does it too."""

from __future__ import annotations

from pool.database.state import State
from pool.errors import PoolError
from pool.protocol import PoolStore


def confirm(state: State, store: PoolStore, image: str, who: str) -> None:
    """Let the label of an image count, which equals a prediction. Raises PoolError 404, 409."""
    if not store.has_image(image):
        raise PoolError(404, f"there is no image {image!r} in this pool")
    if image not in store.unedited_labels:
        raise PoolError(409, f"{image} has no label that waits to be confirmed")
    for fingerprint in store.label_fingerprints([image]).values():
        state.label_checks.confirm(image, fingerprint, who)
    store.take_in_checks(state.label_checks.news(store))
