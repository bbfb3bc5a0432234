"""Plain keys are read as YAML and mean what MONAI's ConfigParser makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import bundle_configs
from bundle_configs import Bundle, bundle_names
from bundle_configs.checks import is_plain


@pytest.mark.parametrize("name", bundle_names())
def test_plain_keys_mean_what_monai_makes_of_them(name: str) -> None:
    bundle = Bundle(name)
    plain = [key for key, value in bundle._config.items() if is_plain(value)]
    assert {"labels", "overrides", "dimensions", "modalities", "metric"} <= set(plain)
    assert {key: bundle.get(key) for key in plain} == {
        key: bundle._parser.get_parsed_content(key) for key in plain
    }


def test_overrides_are_read_first_and_answers_are_copies() -> None:
    bundle = Bundle("cxr_lungs", {"epochs": 7, "channels": [4, 8]})
    assert bundle.get("epochs") == 7 and bundle.get("network_def").out_channels == 3
    bundle.get("channels").append(16)
    assert bundle.get("channels") == [4, 8] != Bundle("cxr_lungs").get("channels")
    assert bundle.get("labels#right lung") == 1
    with pytest.raises((KeyError, ValueError)):
        bundle.get("nothing")


def test_keys_that_change_an_earlier_file_are_left_to_monai(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = tmp_path / "mine" / "configs"
    configs.mkdir(parents=True)
    (configs / "train.yaml").write_text(yaml.safe_dump({"overrides": ["epochs"], "epochs": 1}))
    (configs / "pretrain.yaml").write_text("+overrides: [seed]\nseed: 3\n")
    monkeypatch.setattr(bundle_configs, "_FOLDER", tmp_path)
    assert Bundle("mine").get("overrides") == ["epochs", "seed"] and Bundle("mine").get("seed") == 3
