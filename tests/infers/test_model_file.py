"""Reading of model files as data, and checks before one becomes the pool's model."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bundle_configs import Bundle
from infers.model_file import ModelError, check_model, read_checkpoint
from tests.server.published import publish

CONF = {"image_size": 32, "channels": "[4,8]"}
OWN = Bundle("cxr_lungs", {"image_size": 32, "channels": [4, 8]})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    publish(tmp_path, "cxr_lungs", CONF)
    return tmp_path / "model.pt"


def test_a_published_model_is_taken(model: Path) -> None:
    check_model(model)
    check_model(model, OWN)
    check_model(model, Bundle("cxr_lungs"))  # other settings, the same structures
    with pytest.raises(ModelError, match="of the app 'cxr_lungs', this is 'volumes'"):
        check_model(model, Bundle("volumes"))


class Runs:
    """Runs a command when unpickled by plain pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"model": Runs(marker), "details": {}}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Runs(marker)))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ModelError, match="cannot read it as a file of weights"):
            check_model(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04" + b"0" * 100, bytes(range(256)) * 10])
def test_junk_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.pt").write_bytes(content)
    with pytest.raises(ModelError, match="cannot read it as a file of weights"):
        read_checkpoint(tmp_path / "junk.pt")


def _weights(checkpoint: dict[str, Any], value: Any) -> None:
    key = next(key for key, tensor in checkpoint["model"].items() if tensor.is_floating_point())
    checkpoint["model"][key] = value(checkpoint["model"][key])


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no details": (lambda c: c.pop("details"), "`model` or `details` is missing"),
    "details are no dict": (lambda c: c.update(details=[1]), "`details`"),
    "no bundle": (lambda c: c["details"].pop("bundle"), "bundle"),
    "a path as bundle": (lambda c: c["details"].update(bundle="../../tmp"), "there is no bundle"),
    "an expression": (lambda c: c["details"]["overrides"].update(dropout="$1/0"), "evaluated"),
    "another key": (lambda c: c["details"]["overrides"].update(optimizer={}), "not a key"),
    "a network that cannot be": (
        lambda c: c["details"]["overrides"].update(channels=["x"]),
        "cannot be built",
    ),
    "other widths": (
        lambda c: c["details"]["overrides"].update(channels=[4, 8, 16]),
        "weights are not those",
    ),
    "a text as number": (lambda c: c["details"]["overrides"].update(image_size="32"), "expected as in"),
    "true as number": (lambda c: c["details"]["overrides"].update(image_size=True), "expected as in"),
    "half characters": (lambda c: c["details"].update(labelled=["\ud800"]), "cannot be used"),
    "a tensor among the words": (lambda c: c["details"].update(foo=torch.zeros(1)), "cannot be used"),
    "no list of images": (lambda c: c["details"].update(labelled="all"), "labelled"),
    "a weight of another shape": (lambda c: _weights(c, lambda t: t[..., :1, :1]), "weights are not those"),
    "a weight that is no number": (lambda c: _weights(c, lambda t: t * float("nan")), "finite"),
    "weights that are none": (lambda c: c.update(model=[1]), "weights are not those"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_model_is_refused(model: Path, case: str) -> None:
    change, says = CHANGES[case]
    checkpoint = read_checkpoint(model)
    change(checkpoint)
    torch.save(checkpoint, model)
    with pytest.raises(ModelError, match=says):
        check_model(model, OWN)
