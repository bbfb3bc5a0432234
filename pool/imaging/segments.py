"""Named segments of an NRRD, as 3D Slicer and OHIF write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pool.imaging.names import LabelError, same_name

Notes = list[str]


def count_segments(header: Mapping[str, Any]) -> int:
    """Return the number of named segments, by the header of an NRRD."""
    return sum(bool(re.fullmatch(r"Segment\d+_Name", key)) for key in header)


def map_segments(
    data: np.ndarray, header: Mapping[str, Any], labels: Mapping[str, int], notes: Notes
) -> np.ndarray:
    """Map a segmentation NRRD (W, H, D), or (W, H, D, layers), to the app's values by name: (W, H, D).

    Where segments overlap the later one is kept, and the notes say so. Raises LabelError for a segment or a
    value that the app does not have, ValueError for a header that does not say where a segment is.
    """
    layers = np.moveaxis(data, -1, 0) if data.ndim == 4 else data[None]
    values = {same_name(name): value for name, value in labels.items()}
    out, unnamed = np.zeros(layers.shape[1:], dtype=np.uint8), layers != 0
    overlap = np.zeros(out.shape, bool)
    for i in range(count_segments(header)):
        if (name := header.get(f"Segment{i}_Name")) is None:
            raise ValueError(f"Segment{i}_Name is missing, though the file has later ones")
        layer = _number(header, f"Segment{i}_Layer", i if data.ndim == 4 else 0)
        if not 0 <= layer < len(layers):
            raise ValueError(f"Segment{i}_Layer is {layer}, and the file has {len(layers)}, counted from 0")
        if (own := _number(header, f"Segment{i}_LabelValue", 1)) == 0:
            raise ValueError(f"Segment{i}_LabelValue is 0, which is the background")
        mask = layers[layer] == own
        if not mask.any():
            continue
        if same_name(name) not in values:
            raise LabelError(f"segment {name!r} is not one of {', '.join(labels)}; rename or remove it")
        value = values[same_name(name)]
        overlap |= mask & (out != 0) & (out != value)
        out[mask] = value
        unnamed[layer] &= ~mask
    if unnamed.any():
        extra_values = np.unique(layers[unnamed]).tolist()
        raise LabelError(f"the values {extra_values[:5]} belong to no named segment; name or remove them")
    if overlap.any():
        notes.append(overlap_note(int(overlap.sum())))
    return out


def _number(header: Mapping[str, Any], key: str, default: int) -> int:
    """Return a whole number of the header's. Raises ValueError when it is none."""
    text = str(header.get(key, default)).strip()
    if not re.fullmatch(r"-?\d+", text):
        raise ValueError(f"{key} is {text!r}, not a whole number")
    return int(text)


def overlap_note(count: int) -> str:
    """Say that segments overlap in `count` voxels."""
    return f"segments overlap in {count} voxels, where the later segment of the file is kept"
