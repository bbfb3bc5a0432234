"""Planes of images and volumes: there and back."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from infers.instant.grids import coarser, label_grid, resized
from infers.instant.planes import MAX_SLICES, coarse_slices, read_planes
from tests.volumes import write_volume

FLIPPED = np.diag([-1.0, 1.0, 2.0, 1.0])
SAGITTAL = np.array([[0, 0, 1.5, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


def probabilities_of(shares: np.ndarray) -> np.ndarray:
    return shares.astype(np.float32)


def test_a_picture_goes_there_and_back(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 90), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "image.png")
    planes = read_planes(tmp_path / "image.png", 2)
    assert planes.shape == (90, 40) and len(planes.positions) == 0
    np.testing.assert_allclose(planes.images[0], grey / 255, atol=1e-6)
    label = np.zeros((90, 40), np.uint8)
    label[20:60, 8:24] = 2
    back = planes.label_of(probabilities_of(label_grid(planes.of_label(label), [1, 2])), [1, 2])
    assert back.shape == (90, 40) and (back != label).mean() < 0.03
    own = planes.to_own_grid(probabilities_of(label_grid(planes.of_label(label), [1, 2])))
    assert own.shape == (3, 90, 40)
    np.testing.assert_allclose(own.sum(axis=0), 1, atol=1e-3)
    np.testing.assert_array_equal(own.argmax(axis=0), back)


@pytest.mark.parametrize("affine", [np.eye(4), FLIPPED, SAGITTAL], ids=["ras", "flipped", "sagittal"])
@pytest.mark.parametrize("depth", [20, MAX_SLICES + 22])
def test_a_volume_goes_there_and_back_whatever_its_orientation(
    tmp_path: Path, affine: np.ndarray, depth: int
) -> None:
    write_volume(tmp_path / "ras.nii.gz", 0, (36, 34, depth))
    volume = nibabel.load(tmp_path / "ras.nii.gz").get_fdata()
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "volume.nii.gz")
    planes = read_planes(tmp_path / "volume.nii.gz", 3)
    assert planes.shape == volume.shape
    assert len(planes.images) == len(planes.positions) <= MAX_SLICES
    assert (planes.positions[0], planes.positions[-1]) == (0, 1) and (np.diff(planes.positions) > 0).all()
    label = np.zeros(volume.shape, np.uint8)
    label[8:20, 10:30, 4:15] = 1
    back = planes.label_of(probabilities_of(label_grid(planes.of_label(label), [1])), [1])
    assert back.shape == label.shape
    assert 2 * (back & label).sum() / (back.sum() + label.sum()) > 0.9
    own = planes.to_own_grid(probabilities_of(label_grid(planes.of_label(label), [1])))
    np.testing.assert_array_equal(own.argmax(axis=0), back)


def test_slices_run_from_feet_to_head_with_the_patients_right_on_the_left(tmp_path: Path) -> None:
    volume = np.zeros((8, 10, 12), np.float32)
    volume[0] += 3  # the left-most sagittal plane of a file whose first index runs to the right
    volume[:, :, 11] += 1
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "volume.nii.gz")
    planes = read_planes(tmp_path / "volume.nii.gz", 3, "mr")
    assert planes.images[0].shape == (10, 8)
    assert planes.images[-1].mean() > planes.images[0].mean()
    assert planes.images[5][:, -1].mean() > planes.images[5][:, 0].mean()


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) % 200).save(tmp_path / "image.png")
    with pytest.raises(ValueError, match=r"\(20, 21\) does not fit an image of shape \(20, 20\)"):
        read_planes(tmp_path / "image.png", 2).of_label(np.zeros((20, 21), np.uint8))


def test_label_grids_are_shares() -> None:
    label = np.zeros((1, 128, 128), np.uint8)
    label[0, :, 64:] = 5
    shares = label_grid(label, [3, 5])
    assert shares.shape == (1, 64, 64, 3) and shares.dtype == np.float16
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-3)
    np.testing.assert_array_equal(shares[..., 1], 0)
    np.testing.assert_array_equal(shares[0, :, 40:, 2], 1)


def test_coarser_grids_are_means() -> None:
    values = np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float16)
    coarse = coarser(values)
    assert coarse.shape == (2, 16, 16, 3) and coarse.dtype == np.float16
    np.testing.assert_allclose(coarse[1, 2, 3], values[1, 8:12, 12:16].mean(axis=(0, 1)), atol=2e-3)
    assert resized(values, (64, 64)).dtype == np.float32
    assert len(coarse_slices(5)) == 5 and len(coarse_slices(40)) == 16
