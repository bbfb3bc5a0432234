"""The store's model is MONAI Label's, though it imports none of it."""

from __future__ import annotations

import json

import pytest
from monailabel.datastore import local
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from pool.datastore import model
from pool.datastore.index import FINAL, ORIGINAL
from pool.datastore.store import PoolDatastore


@pytest.mark.parametrize("name", ["DataModel", "ImageLabelModel", "LocalDatastoreModel"])
def test_fields_and_defaults_are_those_of_monai_label(name: str) -> None:
    def fields(schema: dict) -> dict:
        return {key: value for key, value in schema.items() if key not in ("description", "$defs")}

    ours, theirs = getattr(model, name).model_json_schema(), getattr(local, name).model_json_schema()
    assert fields(ours) == fields(theirs)


def test_either_reads_what_the_other_writes_and_finds_the_same_folders() -> None:
    label = {"final": {"ext": ".png", "info": {"client_id": "a"}}}
    objects = {"one": {"image": {"ext": ".png", "info": {"ts": 1}}, "labels": label}}
    text = json.dumps({"name": "n", "description": "d", "images_dir": ".", "objects": objects})
    ours = model.LocalDatastoreModel.model_validate_json(text)
    theirs = local.LocalDatastoreModel.model_validate_json(text)
    assert ours.model_dump_json(indent=2) == theirs.model_dump_json(indent=2)
    for ours.base_path in ("", "/studies"):
        theirs.base_path = ours.base_path
        assert ours.image_path() == theirs.image_path()
        for tag in (None, FINAL):
            assert ours.label_path(tag) == theirs.label_path(tag)
    found, known = ours.label("one", FINAL), theirs.label("one", FINAL)
    assert found is not None and known is not None and found.model_dump() == known.model_dump()
    assert ours.label("one", "x") is None is ours.label("two", FINAL)


def test_the_store_has_the_methods_and_tags_of_monai_label() -> None:
    assert {name for name in Datastore.__abstractmethods__ if not hasattr(PoolDatastore, name)} == set()
    assert (DefaultLabelTag.FINAL.value, DefaultLabelTag.ORIGINAL.value) == (FINAL, ORIGINAL)
