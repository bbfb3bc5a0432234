"""The parts of MONAI Label that this project replaces are those that it was written for.

`monailabel.json` has a hash of each method of MONAI Label that a class here overrides. When another version
changes one, compare both sources, change ours if need be, and put in the hash that the failure prints.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import textwrap
from pathlib import Path

import pytest
from monailabel.interfaces.app import MONAILabelApp

import infers.instant.task
import infers.segmentation.task
import pool.datastore.store
import pool.dicomweb.store
import server.app
import server.batch
import strategies.refresh.pipeline
import strategies.strategy
import trainers.csal3d.task
import trainers.segmentation.task

HASHES = json.loads(Path(__file__).with_name("monailabel.json").read_text())


class App(server.app.Shell, MONAILabelApp):
    """As each main.py of apps/ puts it together."""


OURS = (
    App,
    server.batch.BatchInfer,
    pool.dicomweb.store.DicomWebPool,
    trainers.segmentation.task.SegmentationTrain,
    trainers.csal3d.task.Pretraining,
    infers.segmentation.task.SegmentationInfer,
    infers.instant.task.InstantInfer,
    strategies.refresh.pipeline.Refresh,
    strategies.strategy.Select,
)


def replaced() -> dict[str, str]:
    """{dotted name of a method of MONAI Label that ours overrides: hash of its source}."""
    found = {}
    for ours in OURS:
        ancestors = inspect.getmro(ours)
        theirs = [item for item in ancestors if item.__module__.startswith("monailabel")]
        names = {name for item in ancestors if item not in theirs for name in vars(item)}
        for item in theirs:
            for name in names & set(vars(item)):
                if inspect.isfunction(inspect.unwrap(getattr(item, name))):
                    source = textwrap.dedent(inspect.getsource(getattr(item, name)))
                    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
                    found[f"{item.__module__}.{item.__name__}.{name}"] = digest
    return found


REPLACED = replaced()


@pytest.mark.parametrize("name", sorted(HASHES))
def test_a_method_that_we_override_is_as_it_was(name: str) -> None:
    assert REPLACED.get(name) == HASHES[name], f"{name}: {REPLACED.get(name)}"


def test_no_method_that_we_override_is_left_out() -> None:
    missing = {name: digest for name, digest in REPLACED.items() if name not in HASHES}
    assert not missing, f"to be added to monailabel.json: {missing}"
