"""Pictures and NIfTI files as DICOM: other readers confirm pixels and geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread

from pool.dicom_export.header import storage_of
from pool.dicom_export.series import Given, Series, describe
from pool.dicomweb.cache import convert
from pool.imaging.images import ImageError, read_image


def write(series: Series, folder: Path) -> list[Path]:
    """Write the images of a series to files, with names in no useful order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for image in series.images():
        paths.append(folder / f"{str(image.SOPInstanceUID)[-12:]}.dcm")
        image.save_as(paths[-1])
    return paths


def read_back(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a series with ITK: (W, H, D) and its affine (4, 4), right-anterior-superior."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(list(names) if len(names) > 1 else names[0], imageIO="GDCMImageIO")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine


def same_body(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Bring two volumes to the same axis order and direction, to compare arrays and affines."""
    first, second = (
        nibabel.as_closest_canonical(nibabel.Nifti1Image(a.astype(np.float64), m)) for a, m in (one, other)
    )
    return np.asarray(first.dataobj), np.asarray(second.dataobj), first.affine, second.affine


def affine_of(axes: str, spacing: tuple[float, float, float], angle: float = 0.0) -> np.ndarray:
    """Make an affine with axes as nibabel's axis codes say, rotated about the body's long axis."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    directions = np.zeros((3, 3))
    for column, code in enumerate(axes):
        row = ["RL", "AP", "SI"].index(next(pair for pair in ("RL", "AP", "SI") if code in pair))
        directions[row, column] = 1 if code in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions @ np.diag(spacing)
    affine[:3, 3] = (-30.5, 12.25, 71.125)
    return affine


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


# volumes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SLA", "ARI"])
def test_voxels_lie_where_the_nifti_file_has_them(tmp_path: Path, axes: str, modality: str) -> None:
    voxels = np.random.default_rng(1).integers(-1000, 3000, (9, 8, 5), dtype=np.int16)
    affine = affine_of(axes, (0.7, 1.3, 2.5), angle=0.2)
    path = save(tmp_path / "scan.nii.gz", voxels, affine)
    write(describe(path, Given(modality), "p"), tmp_path / "dicom")
    expected, got, expected_affine, affine_back = same_body((voxels, affine), read_back(tmp_path / "dicom"))
    assert np.array_equal(got, expected)
    assert np.allclose(affine_back, expected_affine, atol=1e-5)


@settings(max_examples=15, deadline=None)
@examples(st.data())
def test_any_straight_geometry_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    shape = [data.draw(st.integers(2, 6)) for _ in range(3)]
    axes = data.draw(st.sampled_from(["RAS", "LPI", "RSA", "IRP", "ASR", "PSL"]))
    spacing = tuple(data.draw(st.floats(0.05, 9)) for _ in range(3))
    affine = affine_of(axes, spacing, data.draw(st.floats(-0.6, 0.6)))  # type: ignore[arg-type]
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    path = save(folder / "scan.nii", voxels, affine)
    write(describe(path, Given("MR"), "p"), folder / "dicom")
    expected, got, expected_affine, affine_back = same_body(
        (voxels, nibabel.load(path).affine), read_back(folder / "dicom")
    )
    assert np.array_equal(got, expected) and np.allclose(affine_back, expected_affine, atol=1e-3)


def test_fractions_are_kept_to_half_a_step_and_scaling_is_applied(tmp_path: Path) -> None:
    voxels = np.random.default_rng(2).normal(50, 400, (7, 6, 4)).astype(np.float32)
    path = save(tmp_path / "scan.nii.gz", voxels, np.eye(4))
    write(describe(path, Given("MR"), "p"), tmp_path / "dicom")
    expected, got, _, _ = same_body((voxels, np.eye(4)), read_back(tmp_path / "dicom"))
    assert np.abs(got - expected).max() <= 0.501 * np.ptp(voxels) / 65_535
    scaled = nibabel.Nifti1Image((voxels > 0).astype(np.int16), np.eye(4))
    scaled.header.set_slope_inter(2, -5)
    nibabel.save(scaled, tmp_path / "scaled.nii.gz")
    values = np.asarray(nibabel.load(tmp_path / "scaled.nii.gz").dataobj)
    write(describe(tmp_path / "scaled.nii.gz", Given("CT"), "p"), tmp_path / "scaled")
    expected, got, _, _ = same_body((values, np.eye(4)), read_back(tmp_path / "scaled"))
    assert np.allclose(got, expected, atol=1e-4)


def test_headers_say_what_viewers_need_and_nothing_of_the_patient(tmp_path: Path) -> None:
    voxels = np.random.default_rng(3).integers(0, 900, (6, 5, 3), dtype=np.int16)
    path = save(tmp_path / "Doe^Jane.nii.gz", voxels, affine_of("LPS", (0.5, 0.8, 3)))
    images = list(describe(path, Given("MR", body_part="BRAIN", seed="s"), "Doe^Jane").images())
    first = images[0]
    assert [image.InstanceNumber for image in images] == [1, 2, 3]
    assert len({image.SOPInstanceUID for image in images}) == 3
    assert len({(i.StudyInstanceUID, i.SeriesInstanceUID, i.FrameOfReferenceUID) for i in images}) == 1
    assert (first.Rows, first.Columns) == (5, 6) and [float(v) for v in first.PixelSpacing] == [0.8, 0.5]
    assert [float(v) for v in first.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    assert float(first.SliceThickness) == 3 and first.BodyPartExamined == "BRAIN"
    steps = np.diff([[float(v) for v in image.ImagePositionPatient] for image in images], axis=0)
    assert np.allclose(steps, [[0, 0, 3]] * 2)
    text = str(first)
    assert "Doe" not in text and "Jane" not in text and first.PatientIdentityRemoved == "YES"


def test_real_volumes_lie_where_they_were(tmp_path: Path, real_data: Path) -> None:
    paths = sorted((real_data / "hippocampus" / "images").glob("*.nii.gz"))[:5]
    if not paths:
        pytest.skip("no hippocampus volumes there")
    for path in paths:
        scan = nibabel.load(path)
        write(describe(path, Given("MR"), path.name), tmp_path / path.name)
        values = np.asarray(scan.dataobj)
        expected, got, expected_affine, affine = same_body(
            (values, scan.affine), read_back(tmp_path / path.name)
        )
        assert np.allclose(got, expected, atol=0.501 * np.ptp(values) / 65_535)
        assert np.allclose(affine, expected_affine, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("channels", "send each channel as a file of its own"),
        ("sheared", "not at right angles"),
        ("nowhere", "does not say how it lies in the body"),
        ("metres", "spacing is in meter"),
        ("nan", "not finite"),
        ("half", "cannot be read"),
    ],
)
def test_volumes_that_dicom_cannot_say_are_refused(tmp_path: Path, change: str, said: str) -> None:
    voxels, affine = np.random.default_rng(4).random((8, 8, 8)).astype(np.float32), np.eye(4)
    if change == "channels":
        voxels = np.stack([voxels, voxels], axis=-1)
    if change == "sheared":
        affine[0, 2] = 0.3
    if change == "nan":
        voxels[1, 2, 3] = np.nan
    image = nibabel.Nifti1Image(voxels, None if change == "nowhere" else affine)
    if change == "metres":
        image.header.set_xyzt_units("meter")
    path = tmp_path / "scan.nii.gz"
    nibabel.save(image, path)
    if change == "half":
        path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ImageError, match=f"scan.nii.gz.*{said}"):
        list(describe(path, Given("MR"), "p").images())


def test_a_picture_is_no_volume(tmp_path: Path) -> None:
    Image.new("L", (32, 32)).save(tmp_path / "x.png")
    with pytest.raises(ImageError, match="send it as CR or DX"):
        describe(tmp_path / "x.png", Given("MR"), "p")


# radiographs ------------------------------------------------------------------------------------------------


def picture(path: Path, kind: str) -> np.ndarray:
    """Write a picture of 33 x 40 pixels (rows, columns), and return its grey values (H, W)."""
    values = np.random.default_rng(5).integers(0, 256, (33, 40)).astype(np.uint8)
    values[0, 0] = 255
    made: Any = Image.fromarray(values)
    if kind == "16 bits":
        made = Image.fromarray(values.astype(np.uint16) * 257)
        values = values.astype(np.uint16) * 257
    elif kind != "grey":
        made = made.convert(kind)
    made.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return np.asarray(Image.open(path).convert("L")) if path.suffix == ".jpg" else values


@pytest.mark.parametrize("modality", ["CR", "DX"])
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
@pytest.mark.parametrize("kind", ["grey", "RGB", "RGBA", "16 bits"])
def test_radiographs_have_the_pixels_and_the_spacing_of_their_picture(
    tmp_path: Path, modality: str, name: str, kind: str
) -> None:
    if name.endswith("jpg") and kind in ("RGBA", "16 bits"):
        return  # JPEG has neither
    values = picture(tmp_path / name, kind)
    (path,) = write(describe(tmp_path / name, Given(modality, spacing=0.25), "p"), tmp_path / "series")
    convert(tmp_path / "series", tmp_path / "x.nii.gz")  # as the server reads it
    pixels, affine = read_image(tmp_path / "x.nii.gz")
    assert np.allclose(pixels.T, values, atol=1 if name.endswith("jpg") else 0)
    assert np.allclose(np.linalg.norm(affine[:3, :2], axis=0), 0.25)
    header = dcmread(path)
    assert header.Modality == modality and header.LossyImageCompression == (
        "01" if name.endswith("jpg") else "00"
    )
    assert header.BitsStored == (16 if kind == "16 bits" else 8)
    assert ("PixelSpacing" in header) == (modality == "CR") and header.ImagerPixelSpacing == [0.25, 0.25]


def test_a_one_slice_nifti_file_brings_its_own_spacing(tmp_path: Path) -> None:
    pixels = np.random.default_rng(6).integers(0, 4096, (40, 33, 1), dtype=np.uint16)
    path = save(tmp_path / "x.nii.gz", pixels, np.diag([-0.1, -0.3, 1, 1]))
    (made,) = describe(path, Given("DX"), "p").images()
    assert [float(v) for v in made.ImagerPixelSpacing] == [0.3, 0.1]
    assert np.array_equal(made.pixel_array, pixels[:, :, 0].T)


def test_a_spacing_that_is_not_known_is_left_out_and_dx_needs_one(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", "grey")
    (made,) = describe(tmp_path / "x.png", Given("CR"), "p").images()
    assert "PixelSpacing" not in made and "ImagerPixelSpacing" not in made
    with pytest.raises(ImageError, match="DX needs the pixel spacing"):
        list(describe(tmp_path / "x.png", Given("DX"), "p").images())


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", "grey")
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:100])
    with pytest.raises(ImageError, match=r"x\.png: cannot be read"):
        list(describe(tmp_path / "x.png", Given("CR"), "p").images())


# identifiers ------------------------------------------------------------------------------------------------


def test_the_same_file_has_the_same_identifiers_and_another_others(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", "grey")
    (tmp_path / "renamed.png").write_bytes((tmp_path / "a.png").read_bytes())
    picture(tmp_path / "b.png", "16 bits")

    def ids(name: str, patient: str = "p", **given: Any) -> tuple[str, ...]:
        made = describe(tmp_path / name, Given(**{"modality": "CR", **given}), patient).ids
        return made.patient, made.study, made.series, made.image(1)

    assert ids("a.png") == ids("renamed.png")
    assert ids("a.png")[0] == ids("b.png")[0] and not set(ids("a.png")[1:]) & set(ids("b.png")[1:])
    assert ids("a.png", "q")[0] != ids("a.png")[0]
    for change in ({"seed": "s"}, {"modality": "DX"}, {"spacing": 0.5}, {"body_part": "CHEST"}):
        assert not set(ids("a.png", **change)[1:]) & set(ids("a.png")[1:])
    assert ids("a.png", seed="s")[0] != ids("a.png")[0], "else a name could be guessed"
    assert all(len(uid) <= 64 for uid in ids("a.png")[1:])


@examples(st.lists(st.integers(-40_000, 90_000), min_size=1, max_size=20))
def test_whole_numbers_are_exact_when_their_range_has_16_bits(values: list[int]) -> None:
    array = np.array(values, dtype=np.int32)[:, None]
    stored = storage_of(array, Path("x"))
    back = stored.pixels(array).T * stored.slope + stored.intercept
    assert np.abs(back - array).max() <= (0 if np.ptp(array) <= 65_535 else 0.501 * stored.slope)
