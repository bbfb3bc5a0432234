"""Reading an image: every format gives the same picture, and a bad file says what to do."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pool.imaging.images import ImageError, ReadImaged, image_fingerprint, read_image, unit_range

WIDTH, HEIGHT = 24, 20


def picture(dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """Make (H, W), bright only at the top right, so that a flip or a transposition shows."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns * 4 + (HEIGHT - rows)).astype(dtype)


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    """Write a computed radiograph: (H, W), (frames, H, W), or (H, W, 3) in colour."""
    colour = pixels.shape[-1] == 3
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.Modality, data.PatientID = generate_uid(), "CR", "one"
    data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    if pixels.ndim == 3 and not colour:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PixelData = pixels.tobytes()
    data.is_little_endian, data.is_implicit_VR = True, False
    data.save_as(path, write_like_original=False)


def write(path: Path, pixels: np.ndarray) -> Path:
    """Write `pixels` (H, W), or with a last axis of colours or slices, in the format of the file name."""
    if path.suffix == ".dcm":
        write_dicom(path, pixels)
    elif path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(pixels.swapaxes(0, 1), np.eye(4)), path)
    elif path.suffix == ".nrrd":
        nrrd.write(str(path), pixels.swapaxes(0, 1))
    else:
        Image.fromarray(pixels).save(path)
    return path


def rgb(alpha: bool = False) -> np.ndarray:
    grey = picture()
    return np.stack([grey] * 3 + ([np.full_like(grey, 9)] if alpha else []), axis=-1)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("grey.png", picture()),
        ("deep.png", picture(np.uint16) * 300),
        ("rgb.png", rgb()),
        ("rgba.png", rgb(alpha=True)),
        ("UPPER.PNG", picture()),
        ("flat.nii.gz", picture(np.int16)),
        ("slice.nii", picture(np.float32)[..., None]),
        ("flat.nrrd", picture(np.int16)),
        ("slice.nrrd", picture(np.uint16)[..., None]),
        ("radiograph.dcm", picture(np.uint16) * 7),
        ("colour.dcm", rgb()),
    ],
)
def test_every_format_gives_width_first_in_its_own_intensities(
    tmp_path: Path, name: str, pixels: np.ndarray
) -> None:
    grey, affine = read_image(write(tmp_path / name, pixels))
    expected = pixels.reshape(HEIGHT, WIDTH, -1)[..., 0]
    assert grey.dtype == np.float32 and affine.shape == (4, 4)
    np.testing.assert_allclose(grey, expected.T, rtol=1e-5)


def test_jpeg_is_read_up_to_its_compression(tmp_path: Path) -> None:
    path = tmp_path / "a.jpeg"
    Image.fromarray(picture()).save(path, quality=95)
    np.testing.assert_allclose(read_image(path)[0], picture().T, atol=6)


def test_colours_are_weighted_as_luma(tmp_path: Path) -> None:
    pixels = rgb()
    pixels[..., 0], pixels[..., 2] = 200, 0
    grey, _ = read_image(write(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(grey, (0.299 * 200 + 0.587 * picture()).T, rtol=1e-5)


def test_folder_of_a_one_slice_series(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    write(tmp_path / "series" / "one.dcm", picture(np.uint16))
    np.testing.assert_array_equal(read_image(tmp_path / "series")[0], picture().T)


@pytest.mark.parametrize("two", [True, False], ids=["2-D", "one slice"])
def test_geometry_of_a_nrrd_is_kept(tmp_path: Path, two: bool) -> None:
    directions, origin, kept = np.diag([0.5, 0.25, 2.0]), np.array([3.0, 4.0, 5.0]), 2 if two else 3
    pixels = picture().T if two else picture().T[..., None]
    space = {"space dimension": 2} if two else {"space": "left-posterior-superior"}
    header = {**space, "space directions": directions[:kept, :kept], "space origin": origin[:kept]}
    nrrd.write(str(tmp_path / "a.nrrd"), pixels, header=header)
    _, affine = read_image(tmp_path / "a.nrrd")
    np.testing.assert_allclose(affine[:2, :2], np.diag([-0.5, -0.25]))
    np.testing.assert_allclose(affine[:2, 3], [-3, -4])
    np.testing.assert_allclose(affine[2], [0, 0, 1, 0] if two else [0, 0, 2, 5])


def test_unit_range_divides_eight_bits_by_255_and_windows_the_rest(tmp_path: Path) -> None:
    dark = unit_range(write(tmp_path / "dark.png", picture()))
    assert dark.shape == (HEIGHT, WIDTH) and dark.dtype == np.float32
    np.testing.assert_allclose(dark, picture() / 255, rtol=1e-5)
    deep = picture(np.float32) * 1000
    deep[0, 0] = 1e9  # one hot pixel must not darken the rest
    low, high = np.percentile(deep, (0.5, 99.5))
    for name in ("deep.nii.gz", "deep.nrrd"):
        seen = unit_range(write(tmp_path / name, deep))
        assert seen.min() == 0 and seen.max() == 1
        np.testing.assert_allclose(seen, np.clip((deep - low) / (high - low), 0, 1), rtol=1e-4)


def test_unit_range_of_an_image_with_few_bright_pixels_spans_all_of_it(tmp_path: Path) -> None:
    pixels = np.zeros((100, 100), np.float32)
    pixels[3, 5] = 50
    seen = unit_range(write(tmp_path / "a.nii", pixels))
    assert seen[3, 5] == 1 and seen.sum() == 1


@pytest.mark.parametrize(
    ("name", "pixels", "says"),
    [
        ("one.png", np.zeros((1, 1), np.uint8), "1 x 1 pixels"),
        ("narrow.png", np.arange(200, dtype=np.uint8).reshape(20, 10), "10 x 20 pixels"),
        ("black.png", np.zeros((20, 20), np.uint8), "all pixels have the value 0"),
        ("nan.nii", np.full((20, 20), np.nan, np.float32), "not finite"),
        ("volume.nii.gz", np.zeros((20, 20, 9), np.uint8), "single 2-D images"),
        ("three.nii.gz", np.zeros((20, 20, 3), np.uint8), "single 2-D images"),
        ("three.nrrd", np.zeros((20, 20, 3), np.uint8), "single 2-D images"),
        ("frames.dcm", np.zeros((4, 20, 20), np.uint8), "single 2-D images"),
    ],
)
def test_unusable_image_is_named_with_what_to_do(
    tmp_path: Path, name: str, pixels: np.ndarray, says: str
) -> None:
    path = write(tmp_path / name, pixels)
    with pytest.raises(ImageError, match=f"{name}.*{says}.*(remove|split)"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.nii.gz", "a.nrrd", "a.dcm"])
@pytest.mark.parametrize("content", [b"", b"this is no image, whatever its name says"])
def test_damaged_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"{name}: .*; copy it again or remove it") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_nrrd_whose_voxels_are_in_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(bytes(range(256)))
    lines = "type: uint8\ndimension: 2\nsizes: 16 16\nencoding: raw\n"
    (tmp_path / "a.nrrd").write_text(f"NRRD0004\n{lines}data file: {tmp_path / 'secret.txt'}\n\n")
    with pytest.raises(ImageError, match="in another file"):
        read_image(tmp_path / "a.nrrd")


def test_other_files_are_refused_with_the_formats_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.txt: .*\.nii\.gz.*\.png.*\.dcm"):
        read_image(tmp_path / "a.txt")


def test_transform_adds_a_channel_and_keeps_path_size_and_affine(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", picture())
    out = ReadImaged(keys="image")({"image": str(path), "other": 1})
    assert out["image"].shape == (1, WIDTH, HEIGHT) and out["other"] == 1
    assert out["image"].meta["filename_or_obj"] == str(path)
    assert tuple(out["image"].meta["spatial_shape"]) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(out["image"].affine, np.diag([-1, -1, 1, 1]))


def test_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", picture())
    before = image_fingerprint(path)
    assert image_fingerprint(path) == before
    write(path, picture() + 1)
    assert image_fingerprint(path) != before
    with pytest.raises(FileNotFoundError):
        image_fingerprint(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["x.nrrd", "x.dcm"])
@pytest.mark.parametrize("written", ["a.h5", "a.mha", "a.gipl", "a.vtk", "a.nrrd", "a.tif"])
def test_a_file_of_another_format_is_not_read(tmp_path: Path, name: str, written: str) -> None:
    """ITK chooses by content, and HDF5 may hold pixels that are bytes of any other file of this machine."""
    voxels = np.arange(400, dtype=np.uint8).reshape(20, 20)
    itk.imwrite(itk.image_from_array(voxels), str(tmp_path / written))
    (tmp_path / written).rename(tmp_path / name)
    if written.endswith(name[-5:]):
        assert read_image(tmp_path / name)[0].shape == (20, 20)
        return
    with pytest.raises(ImageError, match=r"x\.(nrrd|dcm): cannot be read \(\w.*\); copy it again") as refused:
        read_image(tmp_path / name)
    assert "ITK-source" not in str(refused.value) and "0x" not in str(refused.value)


@pytest.mark.parametrize("kind", ["PPM", "GIF", "EPS", "WEBP"])
def test_a_picture_is_png_jpeg_tiff_or_bmp(tmp_path: Path, kind: str) -> None:
    """Pillow would hand an EPS file to Ghostscript."""
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).convert("RGB").save(tmp_path / "a", kind)
    (tmp_path / "a").rename(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a.png: cannot be read"):
        read_image(tmp_path / "a.png")
