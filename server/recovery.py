"""State that outlives accidents: a ledger is completed from the labels, and nothing stays in a journal."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from pool.database.state import State
from pool.datastore.index import FINAL
from pool.protocol import PoolStore

logger = logging.getLogger(__name__)
_FOLD_SECONDS = 0.1
# notes of labels that a server saved; labels that were put there have none
_NOTED = ("client_id", "client", "state")


def complete_ledger(state: State, store: PoolStore) -> int:
    """Record, as recovered, final labels that a server saved and the ledger lacks; return their number.

    It lacks a label, too, where its newest entry of the image is of one with other voxels.
    """
    known = state.ledger.label_digests()
    recovered = 0
    for image in store.get_labeled_images():
        info = store.get_label_info(image, FINAL)
        if not any(info.get(key) for key in _NOTED):
            continue
        if image in known and (known[image] is None or info.get("digest") in (None, known[image])):
            continue
        who = str(info.get("client_id") or info.get("client") or "anonymous")
        state.handouts.labelled(image, who, {**info, "recovered": True})
        recovered += 1
    if recovered:
        logger.warning(
            "The ledger did not know %d labels that people saved here: its database was lost, or is of an "
            "earlier day. They are recorded as recovered",
            recovered,
        )
    return recovered


def fold_from_now_on(state: State) -> None:
    """Keep the database's own file complete until this process ends, as the server is stopping.

    In a thread: a signal handler may have interrupted one that writes.
    """

    def fold() -> None:
        while True:
            with suppress(
                SQLAlchemyError, OSError
            ):  # busy or a full disk: the journal is read at the next start
                state.fold()
            time.sleep(_FOLD_SECONDS)

    threading.Thread(target=fold, name="fold", daemon=True).start()
