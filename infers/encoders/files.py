"""Fingerprints of weight files, which identify the weights behind an embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def fingerprint(files: Sequence[Path]) -> str:
    """Return the first 12 hex digits of `sha256_of`."""
    return sha256_of(files)[:12]


def sha256_of(files: Sequence[Path]) -> str:
    """Return the sha256 over the bytes of `files` in the given order, 64 hex digits.

    For one file it equals the output of `sha256sum FILE`.
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
