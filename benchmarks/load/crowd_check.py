"""Compare the pool that a killed server left with the answers its clients got."""

from __future__ import annotations

import filecmp
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle_configs import Bundle
from pool.database.state import State
from pool.datastore import PoolDatastore


@dataclass
class Record:
    """The answers that clients got, by image. Filled from many threads."""

    handouts: list[tuple[str, str]] = field(default_factory=list)  # image, client
    labels: dict[str, int] = field(default_factory=dict)  # number of accepted final labels
    skips: dict[str, bool] = field(default_factory=dict)  # whether the last answer says that it is skipped
    unclear: set[str] = field(default_factory=set)  # images whose last request got no answer
    asked: int = 0
    clicks: list[float] = field(default_factory=list)  # seconds from a request for an image to the answer
    lock: threading.Lock = field(default_factory=threading.Lock)


def check(out: Path, record: Record, embedded: int, database: str = "") -> tuple[list[str], int]:
    """Check the pool in `out`; return its errors and its number of embeddings.

    There must be at least `embedded` embeddings.

    :param database: URL of its database; "" for SQLite
    """
    wrong = [] if database else _damaged(out / "state" / "pool.db")
    state = State(out / "state", migrate=True, url=database)
    ledger = state.ledger.entries()
    wrong += _double_handouts(ledger, {held.image: held.client for held in state.handouts.open()})
    wrong += unrecorded(ledger, record)
    handed_out = Counter(
        (line["image"], line["details"]["client"]) for line in ledger if line["event"] == "handout"
    )
    missing = Counter(record.handouts) - handed_out
    wrong += [f"hand-out of {image} to {client} is not in the ledger" for image, client in missing]
    skipped = state.handouts.skipped()
    for image, skip in record.skips.items():
        if image not in record.unclear and (image in skipped) != skip:
            wrong.append(f"{image} should {'' if skip else 'not '}be skipped")
    wrong += _label_errors(out, record)
    now = len(state.embeddings.fingerprints("descriptor:1"))
    if now < embedded:
        wrong.append(f"{embedded - now} embeddings are gone")
    return wrong, now


def _damaged(file: Path) -> list[str]:
    with sqlite3.connect(file) as connection:
        report = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    return [] if report == ["ok"] else [f"{file.name}: {line}" for line in report]


def unrecorded(ledger: list[dict[str, Any]], record: Record) -> list[str]:
    """Find accepted labels that the ledger does not know."""
    known = Counter(line["image"] for line in ledger if line["event"] == "label")
    return [
        f"the ledger has {known[image]} of {count} labels of {image}"
        for image, count in record.labels.items()
        if known[image] < count
    ]


def _double_handouts(ledger: list[dict[str, Any]], held: dict[str, str]) -> list[str]:
    """Find hand-outs of an image that somebody else still held, and leases that the ledger does not know."""
    holders: dict[str, str] = {}
    wrong = []
    for line in ledger:
        image, event = line["image"], line["event"]
        if event == "handout":
            if image in holders:
                wrong.append(f"{image} was handed out to {line['details']['client']} and to {holders[image]}")
            holders[image] = line["details"]["client"]
        elif event == "handout_ended":
            holders.pop(image, None)
    if holders != held:
        wrong.append(f"by the ledger {holders} are held, by the leases {held}")
    return wrong


def _label_errors(out: Path, record: Record) -> list[str]:
    """Find accepted labels that are missing or changed, byte for byte, and missing earlier versions."""
    store = PoolDatastore(str(out / "studies"), Bundle("cxr_lungs").get("labels"))
    try:
        done, versions = set(store.get_labeled_images()), out / "studies" / "versions" / "final"
        wrong = [f"the label of {image} is gone" for image in record.labels if image not in done]
        for image, count in record.labels.items():
            if image not in done:
                continue
            if not filecmp.cmp(store.get_label_uri(image, "final"), out / "labels" / f"{image}.png", False):
                wrong.append(f"the label of {image} is another one")
            earlier = len(list(versions.glob(f"{image}.*.png")))
            if earlier < count - 1:
                wrong.append(f"{image} was labelled {count} times, {earlier} earlier versions are kept")
        return wrong
    finally:
        store.close()
