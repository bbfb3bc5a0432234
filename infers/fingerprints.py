"""Fingerprints and keys of published models; imports no PyTorch."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from pool.imaging.names import image_fingerprint


@lru_cache(maxsize=8)
def _sha256(path: Path, mark: str) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_fingerprint(path: Path) -> str | None:
    """Return the sha256 of a published model, or None if there is none; cached until the file changes."""
    try:
        return _sha256(path, image_fingerprint(path))
    except FileNotFoundError:
        return None


def pretrained_key(path: Path) -> str | None:
    """Return the key of a published CSAL-3D network's features and uncertainties; None before."""
    fingerprint = model_fingerprint(path)
    return f"csal3d|{fingerprint[:12]}" if fingerprint else None
