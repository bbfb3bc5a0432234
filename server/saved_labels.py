"""Labels that this server and others of its pool save: recorded in the ledger, and noticed by the worker."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag
from sqlalchemy.exc import SQLAlchemyError

from pool.database.label_checks import NewCheck
from pool.database.state import State
from pool.protocol import FetchesImages, PoolStore
from strategies.identity import current_user, plain_text
from strategies.refresh.prelabels import BY as PRELABEL

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Save:
    """A label that was saved; `key` names this save in the ledger."""

    image: str
    tag: str
    client: str
    info: Mapping[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


class SavedLabels:
    """Records saved labels. A database that is down costs no entry: it is made when it is back.

    :param store: returns the datastore, which may still be about to be opened
    :param wake: lets the background look at the pool
    """

    def __init__(self, state: State, store: Callable[[], PoolStore], wake: Callable[[], None]) -> None:
        self._state, self._store, self._wake = state, store, wake
        self._unwritten: deque[_Save] = deque()

    def saved(self, image: str, tag: str, info: Mapping[str, Any]) -> None:
        """Record a saved label; a final one ends the image's lease, whoever saved it."""
        if info.get("by") == PRELABEL:  # nobody saved it
            return
        client = plain_text(current_user.get() or info.get("client_id") or "anonymous")
        save = _Save(image, tag, client, dict(info))
        try:  # the label itself is saved, which is what counts
            recorded = not self._state.loss()
            if recorded:
                self._record(save)
        except (SQLAlchemyError, OSError):
            logger.exception("The database cannot be written")
            recorded = False
        if not recorded:
            logger.warning("The label of %s is saved; the ledger gets it when it can be written again", image)
            self._unwritten.append(save)
        self._wake()

    def catch_up(self) -> None:
        """Record the labels that could not be recorded when they were saved."""
        while self._unwritten:
            save = self._unwritten[0]
            # a connection may have broken after the entry was committed
            self._record(save, has_entry=self._state.ledger.has_save(save.image, save.key))
            self._unwritten.popleft()

    def _record(self, save: _Save, has_entry: bool = False) -> None:
        image, details = save.image, {**save.info, "save": save.key}
        if save.tag == DefaultLabelTag.FINAL:
            # of a label that was checked; read first, so that nothing is written when this fails
            prints = self._store().label_fingerprints([image])
            self._state.validations.forget(image)
            if not has_entry:
                self._state.handouts.labelled(image, save.client, details)
            state, digest = save.info.get("state", ""), save.info.get("digest", "")
            checks = [NewCheck(image, fingerprint, "", state, digest) for fingerprint in prints.values()]
            self._state.label_checks.add(checks)
            self._state.drafts.remove(save.client, image)
            self._state.reopened.close([image])
        elif not has_entry:
            entry = {"tag": save.tag, "client": save.client, "save": save.key}
            self._state.ledger.add("label", image, entry)


class LabelsElsewhere:
    """Notices labels that another server of this pool has saved on the DICOM server that both share.

    :param store: returns the datastore
    :param wake: lets the background look at the pool
    """

    def __init__(self, state: State, store: Callable[[], PoolStore], wake: Callable[[], None]) -> None:
        self._state, self._store, self._wake = state, store, wake
        self._newest = state.label_checks.newest()  # number of the newest label check that was looked at

    def look(self) -> None:
        """Look at the DICOM server at once when another server of this pool has saved a label."""
        newest, store = self._state.label_checks.newest(), self._store()
        if newest > self._newest and isinstance(store, FetchesImages):
            saved = self._state.label_checks.good_since(self._newest)
            if any(store.has_image(image) and not store.is_labelled(image) for image in saved):
                store.refresh()
                self._wake()
        self._newest = newest
