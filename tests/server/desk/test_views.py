"""The arrangement of images on the screen: turns of photographs, axial slices, and the way back."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.spatial.transform import Rotation

from pool.imaging.images import read_image
from server.desk.views import view_of
from tests.pool.imaging.test_geometry import TURNS, drawn

PLACES = np.random.default_rng(3).integers(0, 255, (40, 60), dtype=np.uint8)  # rows, columns


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_photograph_is_shown_as_a_browser_does(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(PLACES).save(tmp_path / name, exif=exif, quality=100, subsampling=0)
    view, own = view_of(str(tmp_path / name)), read_image(tmp_path / name)[0]
    with Image.open(tmp_path / name) as picture:
        seen = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(view.shown(own), seen)
    assert view.shape == seen.shape
    label = drawn(own.shape)
    np.testing.assert_array_equal(view.stored(view.shown(label)), label)


def test_a_photograph_whose_exif_is_damaged_is_shown_as_it_is_stored(tmp_path: Path) -> None:
    for name, exif in (("a.png", b"II"), ("b.png", b"\xff" * 50), ("c.jpg", b"Exif\0\0II*\0" + b"\xff" * 9)):
        Image.fromarray(PLACES).save(tmp_path / name, exif=exif)
        view, own = view_of(tmp_path / name), read_image(tmp_path / name)[0]
        np.testing.assert_array_equal(view.shown(own), own.T)


@pytest.mark.parametrize("turn", TURNS)
def test_a_volume_is_shown_in_axial_slices_from_the_feet(tmp_path: Path, turn: np.ndarray) -> None:
    """Rows go to the back, columns to the patient's left, slices to the head, however the file lists them."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (9, -7, 5), degrees=True).as_matrix() @ turn * (1.5, 0.8, 2.0)
    affine[:3, 3] = (11, -20, 5)
    label = drawn((9, 8, 7))
    nibabel.save(nibabel.Nifti1Image(label.astype(np.int16), affine), tmp_path / "v.nii.gz")
    view = view_of(str(tmp_path / "v.nii.gz"))
    shown = view.shown(label)
    assert shown.shape == view.shape
    np.testing.assert_array_equal(view.stored(shown), label)
    steps = view.affine[:3, :3].T  # of a column, a row, a slice
    assert steps[0][0] < 0 and steps[1][1] < 0 and steps[2][2] > 0
    assert (np.abs(steps).argmax(axis=1) == [0, 1, 2]).all()
    for place in ((0, 0, 0), (3, 2, 1), (5, 4, 3)):  # the affine says where each voxel lies
        number, row, column = place
        here = view.affine @ (column, row, number, 1)
        index = np.rint(np.linalg.inv(affine) @ here)[:3].astype(int)
        assert label[tuple(index)] == shown[place]


def test_spacing_is_that_of_rows_and_columns(tmp_path: Path) -> None:
    affine = np.diag((0.5, 2.0, 3.0, 1.0))
    nibabel.save(nibabel.Nifti1Image(drawn((9, 8, 7)).astype(np.int16), affine), tmp_path / "v.nii.gz")
    assert view_of(str(tmp_path / "v.nii.gz")).spacing == (2.0, 0.5)
