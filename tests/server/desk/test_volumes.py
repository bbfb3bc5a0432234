"""Volumes at the desk of a real server: axial slices of an oblique scan, and its label voxel for voxel."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import requests
from PIL import Image
from scipy.spatial.transform import Rotation

from benchmarks.server_process import Server
from pool.imaging.labels import read_label
from tests.pool.imaging.test_geometry import assert_same_geometry, drawn
from tests.server.desk.conftest import Browser, stored
from tests.server.published import publish

TISSUES = {"oedema": 1, "tumour": 2}
VOLUMES = {
    "channels": "[4,8]",
    "window": "[16,16,8]",
    "labels": '{"oedema": 1, "tumour": 2}',
    "instant": False,
}
VALUES = np.random.default_rng(2).integers(-1000, 2000, (20, 18, 12)).astype(np.int16)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique scan whose file lists slices first, against the axes of the body."""
    folder = tmp_path_factory.mktemp("volumes") / "studies"
    folder.mkdir()
    affine = np.eye(4)
    turn = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    affine[:3, :3] = Rotation.from_euler("xyz", (9, -7, 5), degrees=True).as_matrix() @ turn * (2.0, 0.8, 1.5)
    affine[:3, 3] = (30, -20, 10)
    nibabel.save(nibabel.Nifti1Image(VALUES, affine), folder / "oblique.nii.gz")
    return folder


@pytest.fixture(scope="module")
def browser(studies: Path) -> Iterator[Browser]:
    state = studies.parent / "state"
    publish(state, "volumes", VOLUMES)
    with Server("volumes", studies, VOLUMES | {"state": state}, studies.parent / "server.log") as server:
        server.wait()
        yield Browser(server, "ann")


def test_slices_of_an_oblique_volume_are_drawn_and_stored(browser: Browser, studies: Path) -> None:
    whole = browser.array("oblique", "voxels")
    assert whole.dtype == np.int16 and whole.shape == (20, 12, 18)  # head to feet, back to front, columns
    np.testing.assert_array_equal(np.sort(whole, axis=None), np.sort(VALUES, axis=None))
    for number in (0, 7, 19):
        np.testing.assert_array_equal(browser.array("oblique", "voxels", slice=number), whole[number])
    assert browser.image("oblique", "voxels?slice=20").status_code == 422
    spacing = browser.image("oblique", "voxels?slice=3").headers["X-Spacing"]
    np.testing.assert_allclose([float(value) for value in spacing.split(",")], (1.5, 0.8), rtol=1e-4)
    mask = drawn(whole.shape)
    assert browser.save("oblique", mask).status_code == 200
    np.testing.assert_array_equal(browser.array("oblique", "label"), mask)
    np.testing.assert_array_equal(browser.array("oblique", "label", slice=4), mask[4])
    file, image = stored(studies, "oblique"), studies / "oblique.nii.gz"
    own = read_label(file, TISSUES, image)
    assert_same_geometry(file, image)
    order = np.argsort(whole, axis=None, kind="stable")  # where each value of the file is shown
    first = np.unique(whole.reshape(-1)[order], return_index=True, return_counts=True)
    alone = first[0][first[2] == 1]  # values that only one voxel has
    assert len(alone) > 100
    for value in alone[:100]:
        assert mask[whole == value] == own[value == VALUES]


def test_the_map_shows_any_slice_with_its_label(browser: Browser) -> None:
    whole, mask = (browser.array("oblique", what).astype(float) for what in ("voxels", "label"))
    low, high = map(float, browser.image("oblique", "voxels").headers["X-Window"].split(","))

    def picture(what: str, **more: Any) -> requests.Response:
        url = f"{browser.url}/images/{what}"
        return requests.get(url, params={"image": "oblique", **more}, timeout=60)

    for number in (0, 10, 19):
        answer = picture("picture", slice=number)
        assert answer.headers["X-Slices"] == "20"
        shown = np.asarray(Image.open(io.BytesIO(answer.content)))
        expected = np.clip((whole[number] - low) / (high - low), 0, 1) * 255
        np.testing.assert_allclose(shown, expected, atol=0.51)
        overlay = Image.open(io.BytesIO(picture("overlay", of="label", slice=number).content))
        np.testing.assert_array_equal(np.asarray(overlay.getchannel("A")) > 0, mask[number] > 0)
    assert picture("picture").content == picture("picture", slice=10).content, "the middle by default"
    assert picture("picture", slice=20).status_code == 422


def test_a_prelabel_has_the_arrangement_of_the_voxels(browser: Browser) -> None:
    whole = browser.array("oblique", "prelabel")
    assert whole.shape == (20, 12, 18)
    np.testing.assert_array_equal(browser.array("oblique", "prelabel", slice=5), whole[5])
