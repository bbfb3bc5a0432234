"""Fingerprints of weight files, so that an embedding tells which weights it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def fingerprint(files: Sequence[Path]) -> str:
    """First 12 hex digits of `sha256_of`."""
    return sha256_of(files)[:12]


def sha256_of(files: Sequence[Path]) -> str:
    """The sha256 over the bytes of `files` in the given order, 64 hex digits.

    For one file it is what `sha256sum FILE` prints.
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
