"""Reads published models as data, and checks a file before it becomes the pool's model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from bundle_configs import Bundle


class ModelError(ValueError):
    """A file that is no model, or none of this app."""


def read_checkpoint(source: Path | IO[bytes], device: str = "cpu") -> dict[str, Any]:
    """Weights (`model`) and what was published with them (`details`), read as data. Raises ModelError.

    A file that is not there is a FileNotFoundError.
    """
    try:
        checkpoint = torch.load(source, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # of pickle, zip files and tensors, each its own
        raise ModelError(f"it is no file of weights that can be read ({type(error).__name__})") from error
    if not isinstance(checkpoint, dict) or not {"model", "details"} <= checkpoint.keys():
        raise ModelError("it is no model that this server published: `model` or `details` is missing")
    if not isinstance(checkpoint["details"], dict):
        raise ModelError("it does not say how its network is made (`details`)")
    return checkpoint


def bundle_of(details: Mapping[str, Any]) -> Bundle:
    """The bundle that a model was trained with, which may differ from the settings. Raises ModelError."""
    try:
        return Bundle.stored(details["bundle"], details["overrides"])
    except (KeyError, ValueError) as error:
        raise ModelError(f"what it says of its network is not right: {error!r}") from error


def network_of(bundle: Bundle) -> torch.nn.Module:
    """The network that a model's bundle describes. Raises ModelError."""
    try:
        network: torch.nn.Module = bundle.new("network_def")
    except Exception as error:  # MONAI and torch raise many kinds for values that do not fit together
        raise ModelError(f"its network cannot be built: {_first_line(error)}") from error
    return network


def check_model(path: Path, bundle: Bundle | None = None) -> None:
    """Raises ModelError unless a network can be built from what the file says and takes its weights.

    :param bundle: the app's; None where the app is not known, as for a backup
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
    except Exception as error:  # of values of other types than the network takes, each of its own kind
        raise ModelError(f"what it says of itself cannot be used: {_first_line(error)}") from error
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
    """Raises ModelError for a model of another app, other structures or another data set."""
    if own.name != bundle.name:
        raise ModelError(f"it is of the app {own.name!r}, this is {bundle.name!r}")
    if own.get("labels") != bundle.get("labels"):
        raise ModelError(f"its structures are {own.get('labels')}, this app's are {bundle.get('labels')}")
    if "dataset" in own.values and own.values["dataset"] != bundle.values.get("dataset"):
        raise ModelError("it names a data set of its own, which is a path on this machine")
