"""Publishing of models."""

from __future__ import annotations

from pathlib import Path

import torch

from trainers.publishing import write_checkpoint


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    content = {"model": {"w": torch.arange(6.0)}, "details": {"seed": 1}}
    for name in ("one.pt", "two.pt"):
        write_checkpoint(tmp_path / name, content)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()
    assert torch.load(tmp_path / "one.pt", weights_only=True)["details"] == {"seed": 1}
