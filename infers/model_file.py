"""Reading of published models as data, and checks before a file becomes the pool's model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from bundle_configs import Bundle


class ModelError(ValueError):
    """A file that is not a model of this app."""


def read_checkpoint(source: Path | IO[bytes], device: str = "cpu") -> dict[str, Any]:
    """Read the weights (`model`) and the published `details` as data, without running code.

    Raises ModelError, and FileNotFoundError for a missing file.
    """
    try:
        checkpoint = torch.load(source, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # errors of pickle, zip and tensors vary
        raise ModelError(f"PyTorch cannot read it as a file of weights ({type(error).__name__})") from error
    if not isinstance(checkpoint, dict) or not {"model", "details"} <= checkpoint.keys():
        raise ModelError("it was not published by a server of this project: `model` or `details` is missing")
    if not isinstance(checkpoint["details"], dict):
        raise ModelError("its `details` do not describe a network")
    return checkpoint


def bundle_of(details: Mapping[str, Any]) -> Bundle:
    """Return the bundle a model was trained with, which may differ from the settings. Raises ModelError."""
    try:
        return Bundle.stored(details["bundle"], details["overrides"])
    except (KeyError, ValueError) as error:
        raise ModelError(f"its description of the network is invalid: {error!r}") from error


def network_of(bundle: Bundle) -> torch.nn.Module:
    """Build the network that a model's bundle describes. Raises ModelError."""
    try:
        network: torch.nn.Module = bundle.new("network_def")
    except Exception as error:  # MONAI and torch raise many kinds of errors
        raise ModelError(f"its network cannot be built: {_first_line(error)}") from error
    return network


def check_model(path: Path, bundle: Bundle | None = None) -> None:
    """Raise ModelError unless the file describes a network that accepts its weights.

    :param bundle: the app's bundle; None if the app is unknown, as for a backup
    """
    checkpoint = read_checkpoint(path)
    details, own = checkpoint["details"], bundle_of(checkpoint["details"])
    for name in ("images", "labelled"):
        listed = details.get(name)
        if not isinstance(listed, list) or not all(isinstance(image, str) for image in listed):
            raise ModelError(f"it does not list its images (`{name}`)")
    try:
        json.dumps(details, ensure_ascii=False).encode()
        own.check(own.values)
    except Exception as error:  # wrong types raise many kinds of errors
        raise ModelError(f"its `details` cannot be used: {_first_line(error)}") from error
    if bundle is not None:
        _check_app(own, bundle)
    network = network_of(own)
    try:
        network.load_state_dict(checkpoint["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"its weights are not those of its network: {_first_line(error)}") from error
    if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
        raise ModelError("its weights are not all finite numbers")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_app(own: Bundle, bundle: Bundle) -> None:
    """Raise ModelError for a model of another app, other structures or another data set."""
    if own.name != bundle.name:
        raise ModelError(f"it is of the app {own.name!r}, this is {bundle.name!r}")
    if own.get("labels") != bundle.get("labels"):
        raise ModelError(f"its structures are {own.get('labels')}, this app's are {bundle.get('labels')}")
    if "dataset" in own.values and own.values["dataset"] != bundle.values.get("dataset"):
        raise ModelError("it names a data set of its own, which would be read as a path on this machine")
