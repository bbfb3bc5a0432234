"""Fingerprints of weight files, so that an embedding tells which weights it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def fingerprint(files: Sequence[Path]) -> str:
    """First 12 hex digits of the sha256 over the bytes of `files` in the given order.

    For one file it is the start of what `sha256sum FILE` prints.
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]
