"""Digests of labels, by which equal ones are recognised."""

from __future__ import annotations

import hashlib

import numpy as np


def label_digest(label: np.ndarray) -> str:
    """Return the sha256 of a label (W, H) or (W, H, D) on its image's grid; "" for an empty one."""
    if not label.any():
        return ""
    grid = np.ascontiguousarray(label.squeeze(), dtype=np.uint8)
    digest = hashlib.sha256(str(grid.shape).encode())
    digest.update(grid.data)  # without a copy, and without the interpreter's lock
    return digest.hexdigest()
