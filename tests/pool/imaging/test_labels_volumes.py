"""Labels of volumes: read on the image's grid from any grid, format and segment numbers."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, ReadLabeld, check_label, read_label

LABELS = {"anterior": 1, "posterior": 2}
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, 30], [0, 0, 3, -40], [0, 0, 0, 1.0]])
SIZE = (16, 14, 9)


def drawn() -> np.ndarray:
    label = np.zeros(SIZE, np.uint8)
    label[2:6, 3:9, 1:4], label[7:12, 4:8, 5:8] = 1, 2
    return label


@pytest.fixture
def image(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "image.nii.gz")
    return tmp_path / "image.nii.gz"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.seg.nrrd"])
def test_written_label_is_read_back(tmp_path: Path, image: Path, name: str) -> None:
    write_label(tmp_path / name, drawn(), AFFINE, LABELS, {})
    np.testing.assert_array_equal(check_label(tmp_path / name, LABELS, image), drawn())


def test_picture_cannot_be_a_volumes_label(tmp_path: Path, image: Path) -> None:
    with pytest.raises(LabelError, match=r"\.png.*ask for one of \.nii\.gz"):
        write_label(tmp_path / "a.png", drawn(), AFFINE, LABELS, {})
    write_label(tmp_path / "flat.png", drawn()[:, :, 2], AFFINE, LABELS, {})
    with pytest.raises(LabelError, match="its image is a volume"):
        read_label(tmp_path / "flat.png", LABELS, image)


def test_label_in_another_orientation_comes_onto_the_images_grid(tmp_path: Path, image: Path) -> None:
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(drawn(), AFFINE))
    assert not np.array_equal(turned.get_fdata(), drawn())
    nibabel.save(turned, tmp_path / "ras.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "ras.nii.gz", LABELS, image), drawn())


def test_label_on_a_finer_grid_is_resampled(tmp_path: Path, image: Path) -> None:
    fine = drawn().repeat(3, axis=2)
    affine = AFFINE.copy()
    affine[2, 2], affine[2, 3] = 1, -41  # the same extent, slices of 1 mm
    nibabel.save(nibabel.Nifti1Image(fine, affine), tmp_path / "fine.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "fine.nii.gz", LABELS, image), drawn())


def test_segments_are_known_by_name_in_layers(tmp_path: Path, image: Path) -> None:
    """3D Slicer writes overlapping segments layers first, with values of its own."""
    layers = np.stack([drawn() == 2, drawn() == 1]).astype(np.uint8) * 7
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    header = {"space": "left-posterior-superior", "kinds": ["list", *["domain"] * 3]}
    header |= {"space directions": [[np.nan] * 3, *lps[:3, :3].T.tolist()], "space origin": lps[:3, 3]}
    for i, name in enumerate(("Posterior", "anterior")):
        header |= {f"Segment{i}_Name": name, f"Segment{i}_LabelValue": "7", f"Segment{i}_Layer": str(i)}
    nrrd.write(str(tmp_path / "a.seg.nrrd"), layers, header=header)
    np.testing.assert_array_equal(read_label(tmp_path / "a.seg.nrrd", LABELS, image), drawn())


@pytest.mark.parametrize(
    ("label", "affine", "says"),
    [
        (drawn() * 2, AFFINE, r"values \[4\].*1 anterior"),
        (drawn(), AFFINE + np.array([[0, 0, 0, 900.0]] + [[0] * 4] * 3), "outside its image"),
        (np.zeros(SIZE, np.uint8), AFFINE, "empty"),
        (np.stack([drawn()] * 2, axis=-1), AFFINE, "one value per voxel"),
    ],
)
def test_label_that_does_not_fit_is_refused(
    tmp_path: Path, image: Path, label: np.ndarray, affine: np.ndarray, says: str
) -> None:
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "bad.nii.gz")
    with pytest.raises(LabelError, match=says):
        check_label(tmp_path / "bad.nii.gz", LABELS, image)


def test_transform_keeps_the_images_geometry(tmp_path: Path, image: Path) -> None:
    write_label(tmp_path / "a.nii.gz", drawn(), AFFINE, LABELS, {})
    found = ReadLabeld("label", LABELS)({"image": str(image), "label": str(tmp_path / "a.nii.gz")})["label"]
    assert found.shape == (1, *SIZE)
    np.testing.assert_allclose(np.asarray(found.affine), AFFINE)
