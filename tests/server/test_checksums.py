"""Checksums: of small files at once, of large ones a moment later, and anew when a file changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from server import checksums
from server.checksums import Checksums


def checksum(content: bytes) -> str:
    return f"SHA256:{hashlib.sha256(content).hexdigest()}"


def test_a_changed_file_has_another_checksum(tmp_path: Path) -> None:
    known, file = Checksums(), tmp_path / "a.png"
    for content in (b"one", b"two!"):
        file.write_bytes(content)
        assert known.quick(str(file)) == checksum(content) == known.quick(str(file))
    file.unlink()
    with pytest.raises(OSError):
        known.quick(str(file))


def test_a_large_file_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_MAX_BYTES", 10)
    known, large, gone = Checksums(), tmp_path / "large.png", tmp_path / "gone.png"
    for file in (large, gone):
        file.write_bytes(os.urandom(25))
        assert known.quick(str(file)) == "" and known.is_behind
    gone.unlink()
    known.catch_up()
    assert known.quick(str(large)) == checksum(large.read_bytes()) and not known.is_behind
