"""A Decathlon task's dataset.json, and the `--conf` settings for volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundle_configs import Bundle
from pool.imaging.decathlon import DatasetError, task_settings
from server.config import ConfigError, parse

BRAIN = {
    "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
    "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
}


def task(folder: Path, content: Any) -> Path:
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder / "imagesTr"


def test_labels_channels_and_modality_come_from_the_task(tmp_path: Path) -> None:
    assert task_settings(str(task(tmp_path, BRAIN))) == {
        "labels": {"edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3},
        "in_channels": 4,
        "modality_rule": "mr",
    }
    spleen = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}}
    assert task_settings(
        "http://pacs/dicom-web", str(task(tmp_path / "s", spleen).parent / "dataset.json")
    ) == {
        "labels": {"spleen": 1},
        "in_channels": 1,
        "modality_rule": "ct",
    }


def test_a_plain_folder_has_no_task(tmp_path: Path) -> None:
    assert task_settings(str(tmp_path)) == {} == task_settings("http://pacs/dicom-web")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "'labels'"),
        ([], "it needs"),
        (BRAIN | {"labels": {"one": "x"}}, "it needs"),
        (BRAIN | {"modality": {"0": "CT", "1": "PET"}}, "neither all CT nor all MR"),
    ],
)
def test_unusable_dataset_json_says_what_it_needs(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(DatasetError, match=f"dataset.json.*{says}"):
        task_settings(str(task(tmp_path, content)))
    with pytest.raises(DatasetError, match="nowhere.json"):
        task_settings(str(tmp_path), str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("labels", '{"a": 1, "b": 3}', r"values 1, 2"),
        ("labels", '{"background": 0, "a": 1}', "is not listed"),
        ("labels", "[1, 2]", "expected dict"),
        ("modality_rule", "pet", "choose one of ct, mr"),
        ("spacing", "[1, 2]", "three numbers"),
        ("spacing", "[1, 1, 0]", "three numbers"),
        ("window", "[32, 32]", "three whole numbers"),
        ("window", "[30, 32, 32]", "cannot be built"),
        ("in_channels", "0", "above 0"),
    ],
)
def test_wrong_value_stops_the_start(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*{says}|{says}.*{name}"):
        parse({name: value}, Bundle("volumes"))


def test_values_reach_the_network() -> None:
    conf = {"labels": '{"liver": 1, "tumour": 2, "vessel": 3}', "in_channels": "2", "spacing": "[1.5,1.5,3]"}
    bundle = Bundle("volumes", parse(conf, Bundle("volumes")).overrides)
    assert bundle.new("network_def").out_channels == 4
    assert bundle.input_shape == (1, 2, *bundle.get("window"))
