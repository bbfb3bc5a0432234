"""A published model, without minutes of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism

from bundle_configs import Bundle
from server.config import parse


def publish(folder: Path, app: str, conf: Mapping[str, Any]) -> None:
    """Write a network of random weights, which predicts something everywhere, as `model.pt` of an app.

    :param conf: the `--conf` pairs of the server that is to use it
    """
    bundle = Bundle(app, parse({k: str(v) for k, v in conf.items()}, Bundle(app)).overrides)
    set_determinism(1)
    details = {
        "bundle": app,
        "overrides": bundle.values,
        "labels": bundle.get("labels"),
        "images": [],
        "labelled": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": bundle.new("network_def").state_dict(), "details": details}, folder / "model.pt")
    set_determinism(None)
