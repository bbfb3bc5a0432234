"""Reading a volume: every format gives the same voxels, and a bad file says what to do."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from monai.transforms import Compose

from bundle_configs import Bundle
from pool.imaging.images import ImageError
from pool.imaging.volumes import ReadVolumed, read_volume, to_unit_range, volume_grid
from tests.ct_series import write_series

SIZE = (12, 10, 7)
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, 30], [0, 0, 3, -40], [0, 0, 0, 1.0]])


def voxels(channels: int = 0) -> np.ndarray:
    """Make (W, H, D), or with channels last; any flip or swap of axes shows."""
    x, y, z = np.indices(SIZE)
    grey = (x + 20 * y + 300 * z).astype(np.int16)
    return np.stack([grey + c for c in range(channels)], axis=-1) if channels else grey


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def write_nrrd(path: Path, array: np.ndarray) -> Path:
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    directions = [*lps[:3, :3].T.tolist()]
    header = {"space": "left-posterior-superior", "space origin": lps[:3, 3]}
    if array.ndim == 4:  # 3D Slicer's order: components first
        array = np.moveaxis(array, -1, 0)
        header |= {"kinds": ["vector", *["domain"] * 3], "space directions": [[np.nan] * 3, *directions]}
    else:
        header |= {"kinds": ["domain"] * 3, "space directions": directions}
    nrrd.write(str(path), array, header=header)
    return path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "series"])
def test_every_format_gives_the_same_volume_and_affine(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "series":
        write_series(path, voxels(), AFFINE)
    else:
        (write_nrrd if name.endswith("nrrd") else write_nifti)(path, voxels())
    volume, affine = read_volume(path)
    assert volume.dtype == np.float32 and volume.shape == (1, *SIZE)
    np.testing.assert_array_equal(volume[0], voxels())
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    grid = volume_grid(path)
    assert grid is not None and grid[0] == SIZE
    np.testing.assert_allclose(grid[1], AFFINE, atol=1e-5)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_channels_come_first(tmp_path: Path, name: str) -> None:
    write = write_nrrd if name.endswith("nrrd") else write_nifti
    volume, affine = read_volume(write(tmp_path / name, voxels(4)))
    assert volume.shape == (4, *SIZE)
    np.testing.assert_array_equal(volume[2], voxels() + 2)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full(SIZE, 3, np.int16), "all voxels have the value 3"),
        (np.where(voxels() < 1500, np.nan, voxels()).astype(np.float32), "600 of 840 values are not finite"),
        (voxels()[..., :1], "volumes of at least 4 voxels"),
        (voxels()[..., 0], "volumes of at least 4 voxels"),
    ],
)
def test_unusable_volume_is_refused_by_name(tmp_path: Path, array: np.ndarray, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        read_volume(write_nifti(tmp_path / "bad.nii.gz", array))
    assert "bad.nii.gz" in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [(b"", "empty"), (b"no image", "cannot be read")])
def test_damaged_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(content)
    with pytest.raises(ImageError, match=f"bad.nii.gz.*{says}"):
        read_volume(tmp_path / "bad.nii.gz")


def test_file_without_a_usable_affine_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", voxels())
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<hh", 0, 1)  # qform_code, sform_code
    content[280:312] = struct.pack("<8f", 0.5, 0.75, 0, 20, 0, 0, 0, 30)  # srow_x and srow_y: one direction
    path.write_bytes(content)
    with pytest.raises(ImageError, match="voxel size or orientation"):
        read_volume(path)


def test_another_number_of_channels_says_what_to_set(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", voxels(4))
    with pytest.raises(ImageError, match="--conf in_channels 4"):
        ReadVolumed("image", channels=1)({"image": path})
    assert ReadVolumed("image", channels=4)({"image": path})["image"].shape == (4, *SIZE)


def test_ct_is_clipped_to_the_papers_window() -> None:
    found = to_unit_range(np.array([[-3000, -1024, 0, 512, 1024, 4000]], np.float32), "ct")
    np.testing.assert_allclose(found, [[0, 0, 0.5, 0.75, 1, 1]])


def test_mr_is_clipped_to_its_percentiles_channel_by_channel() -> None:
    ramp = np.arange(101, dtype=np.float32)
    found = to_unit_range(np.stack([ramp, 1000 + 5 * ramp, np.full(101, 7, np.float32)]), "mr")
    np.testing.assert_allclose(found[0], np.clip((ramp - 1) / 98, 0, 1), atol=1e-6)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    assert not found[2].any(), "a constant channel"


def test_mr_with_few_bright_voxels_spans_all_of_it() -> None:
    sparse = np.zeros((1, 1000), np.float32)
    sparse[0, :3] = 5, 10, 20
    np.testing.assert_allclose(to_unit_range(sparse, "mr")[0, :4], [0.25, 0.5, 1, 0], atol=1e-6)


def test_bundle_turns_volumes_to_ras_and_resamples_them_when_told_to(tmp_path: Path) -> None:
    path = str(write_nifti(tmp_path / "a.nii.gz", voxels()))
    own = Compose(Bundle("volumes").new("image_transforms"))({"image": path})["image"]
    expected = to_unit_range(voxels()[None, ::-1, ::-1], "mr")
    np.testing.assert_allclose(np.asarray(own), expected, atol=1e-6)
    bundle = Bundle("volumes", {"spacing": [1.0, 1.5, 1.5], "modality_rule": "ct"})
    resampled = Compose(bundle.new("image_transforms"))({"image": path})["image"]
    assert resampled.shape == (1, 6, 6, 13), "5.5 mm are spanned by 6 voxels, 6.75 by 6, 18 by 13"
    np.testing.assert_allclose(np.diag(np.asarray(resampled.affine))[:3], [1.0, 1.5, 1.5])
