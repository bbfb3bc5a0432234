"""Checks of bundle and `--conf` values at the server's start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pool.imaging.names import MODALITIES


def check_volumes(overrides: Mapping[str, Any]) -> None:
    """Raise ValueError for an invalid modality_rule, spacing or window."""
    if (rule := overrides.get("modality_rule", "mr")) not in MODALITIES:
        raise ValueError(f"--conf modality_rule {rule}: choose one of {', '.join(MODALITIES)}")
    spacing, window = overrides.get("spacing", []), overrides.get("window", [1, 1, 1])
    if spacing and not (len(spacing) == 3 and all(_is_number(v) and 0 < v < float("inf") for v in spacing)):
        raise ValueError(f"--conf spacing {spacing}: expected three numbers above 0, in millimetres, or []")
    if len(window) != 3 or not all(isinstance(v, int) and v > 0 for v in window):
        raise ValueError(f"--conf window {window}: expected three whole numbers above 0, in voxels")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_plain(key: str, value: Any) -> None:
    """Raise ValueError for a value that MONAI's ConfigParser would evaluate, import or look up.

    Overrides come from `--conf`, requests and model files: they are data, never configuration code.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str) or name.startswith(("_", "+", "~")) or "#" in name or "::" in name:
                raise ValueError(
                    f"{key}: the name {name!r} is not allowed, it has a special meaning in MONAI bundles"
                )
            check_plain(key, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(key, inner)
    elif isinstance(value, str):
        if value.startswith(("$", "@", "%")):
            raise ValueError(f"{key}: {value!r} would be evaluated; only plain values are allowed")
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"{key}: a {type(value).__name__} is not a plain value")


def is_plain(value: Any) -> bool:
    """Return True if a value passes `check_plain`."""
    try:
        check_plain("", value)
    except ValueError:
        return False
    return True


def check_labels(labels: Mapping[str, Any]) -> None:
    """Raise ValueError unless the label values are 1, 2, ... without gaps, like the channels."""
    values = [value for value in labels.values() if isinstance(value, int)]
    if not labels or len(values) < len(labels) or sorted(values) != list(range(1, len(labels) + 1)):
        raise ValueError(
            f"labels {dict(labels)}: names with the values 1, 2, ..., as in "
            '\'{"liver": 1, "tumour": 2}\'; the background is 0 and is not listed'
        )


def check_channels(file: str, trained: int, channels: int) -> None:
    """Raise ValueError unless a published network was trained on images as the app reads them.

    Without this check, every image would seem to be at fault.

    :param trained: number of channels the network was trained on
    :param channels: number of channels the app is set to
    """
    if trained != channels:
        raise ValueError(
            f"{file} was trained on images with {trained} channels, the app is set to {channels}: train "
            f"again, or start the server with --conf in_channels {trained}"
        )
