"""An encoder of another package, installed beside this project."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infers.encoders import check_encoder, make_encoder

SETUP = """
from setuptools import setup
setup(name={package!r}, version="1.0", py_modules=[{module!r}],
      entry_points={{"scan_selection.encoders": {points!r}}})
"""
MODULE = """
import numpy as np

class Corners:
    name, dim = "corners", 4
    def __init__(self, weights):
        if not weights:
            raise ValueError("encoder corners needs encoder_weights, four numbers such as 1,2,3,4")
        self.scale = np.array([float(x) for x in weights.split(",")], np.float32)
        self.key = f"corners:1:{weights}"
    def embed(self, images):
        rows = [[i[0, 0], i[0, -1], i[-1, 0], i[-1, -1]] for i in images]
        return np.array(rows, np.float32).reshape(-1, 4) * self.scale

def nothing(weights):
    return None
"""


def install(target: Path, source: Path, package: str, points: list[str]) -> None:
    """Build a package with one module and install it into `target` with pip."""
    module = package.replace("-", "_")
    source.mkdir()
    (source / "setup.py").write_text(SETUP.format(package=package, module=module, points=points))
    (source / f"{module}.py").write_text(MODULE)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    points = [
        "corners = corner_encoder:Corners",
        "nothing = corner_encoder:nothing",
        "gone = corner_encoder:Gone",
        "needs-more = corner_encoder_extra:Encoder",
    ]
    install(folder / "target", folder / "source", "corner-encoder", points)
    return folder / "target"


@pytest.fixture
def target(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(installed))
    return installed


def test_it_is_used_by_its_name(target: Path) -> None:
    encoder = make_encoder("corners", "1,2,3,4")
    assert encoder.key == check_encoder("corners", "1,2,3,4") == "corners:1:1,2,3,4"
    rows = encoder.embed([np.full((5, 7), 0.5, np.float32)])
    np.testing.assert_array_equal(rows, [[0.5, 1.0, 1.5, 2.0]])


def test_its_own_errors_come_through(target: Path) -> None:
    for call in (make_encoder, check_encoder):
        with pytest.raises(ValueError, match="corners needs encoder_weights, four numbers"):
            call("corners")


def test_unknown_names_list_it_too(target: Path) -> None:
    with pytest.raises(
        ValueError, match="expected one of descriptor, .*csal3d, corners, gone, needs-more, no"
    ):
        check_encoder("corner")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone", "gone of package corner-encoder cannot be imported .*Gone.*install what it needs"),
        ("needs-more", "cannot be imported .*corner_encoder_extra.*install what it needs"),
        ("nothing", "corner_encoder:nothing of package corner-encoder made a NoneType.*expected key"),
    ],
)
def test_what_is_no_encoder_is_refused_with_its_package(target: Path, name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_encoder(name)


def test_two_packages_with_one_name_are_refused(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "target", tmp_path / "source", "other-encoder", ["corners = other_encoder:Corners"])
    monkeypatch.syspath_prepend(str(tmp_path / "target"))
    with pytest.raises(
        ValueError, match="offered by package corner-encoder and package other-encoder: keep one"
    ):
        make_encoder("corners", "1,1,1,1")


def test_another_process_finds_it_on_its_path(installed: Path) -> None:
    """The server's children are processes of their own."""
    root = Path(__file__).resolve().parents[3]
    code = "from infers.encoders import make_encoder as m; print(m('corners', '1,1,1,1').key)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{root}:{installed}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "corners:1:1,1,1,1"
