"""Grey values as meant: high values of an image are bright whatever its file stores; labels keep indices."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from pool.imaging.images import MAX_NOT_FINITE, ImageError, read_image, unit_range
from pool.imaging.labels import LabelError, read_label
from pool.imaging.volumes import read_volume
from tests.orthanc import radiograph

LABELS = {"one": 1, "two": 2}
ROWS, COLUMNS = np.mgrid[:40, :50]
GREY = (COLUMNS * 3 + ROWS * 2).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 250


def picture() -> Image.Image:
    return Image.fromarray(GREY)


def with_tag(file: Path, tag: int, value: int) -> None:
    """Change a short tag of a TIFF, which Pillow does not write as asked."""
    data = bytearray(file.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack(f"{order}I", data[4:8])[0]
    for i in range(struct.unpack(f"{order}H", data[start : start + 2])[0]):
        place = start + 2 + 12 * i
        if struct.unpack(f"{order}H", data[place : place + 2])[0] == tag:
            data[place + 8 : place + 12] = struct.pack(f"{order}HH", value, 0)
    file.write_bytes(data)


def min_is_white(file: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(file)
    with_tag(file, 262, 0)


def rgb_deep(file: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([DEEP] * 3, axis=-1), isVector=True), str(file))


def dicom(file: Path, modality: str, inverse: bool) -> None:
    radiograph("one", GREY, modality, inverse).save_as(file, write_like_original=False)


KINDS: dict[str, Callable[[Path], object]] = {
    "grey.png": lambda file: picture().save(file),
    "palette.png": lambda file: picture().convert("RGB").quantize(64).save(file),
    "palette.tif": lambda file: picture().convert("RGB").quantize(64).save(file),
    "palette-transparent.png": lambda file: picture().convert("RGB").quantize(64).save(file, transparency=3),
    "cmyk.jpg": lambda file: picture().convert("CMYK").save(file, quality=95),
    "cmyk.tif": lambda file: picture().convert("CMYK").save(file),
    "rgb.jpg": lambda file: picture().convert("RGB").save(file, quality=95),
    "rgba.png": lambda file: picture().convert("RGBA").save(file),
    "la.png": lambda file: picture().convert("LA").save(file),
    "la.tif": lambda file: picture().convert("LA").save(file),
    "lab.tif": lambda file: picture().convert("LAB").save(file),
    "ycbcr.tif": lambda file: picture().convert("YCbCr").save(file),
    "deep.png": lambda file: Image.fromarray(DEEP).save(file),
    "deep.tif": lambda file: Image.fromarray(DEEP).save(file),
    "deep-rgb.png": rgb_deep,
    "deep-rgb.tif": rgb_deep,
    "float.tif": lambda file: picture().convert("F").save(file),
    "signed.tif": lambda file: sitk.WriteImage(sitk.GetImageFromArray(GREY.astype(np.int16) - 90), str(file)),
    "white.tif": lambda file: min_is_white(file, 255 - GREY),
    "white-deep.tif": lambda file: min_is_white(file, 65535 - DEEP),
    "white-float.tif": lambda file: min_is_white(file, 1 - GREY.astype(np.float32) / 255),
    "one.dcm": lambda file: dicom(file, "CR", False),
    "inverse.dcm": lambda file: dicom(file, "CR", True),
    "inverse-dx.dcm": lambda file: dicom(file, "DX", True),
}


@pytest.mark.parametrize("name", KINDS)
def test_high_values_are_bright(tmp_path: Path, name: str) -> None:
    KINDS[name](tmp_path / name)
    grey = read_image(tmp_path / name)[0]
    assert grey.shape == (50, 40)
    assert np.corrcoef(grey.T.ravel(), GREY.ravel())[0, 1] > 0.99
    unit = unit_range(tmp_path / name)
    assert unit.min() >= 0 and unit.max() <= 1 and np.ptp(unit) > 0.5


def label(tmp_path: Path) -> tuple[np.ndarray, Path]:
    picture().save(tmp_path / "image.png")
    return np.where(GREY > 150, 2, np.where(GREY > 80, 1, 0)).astype(np.uint8), tmp_path / "image.png"


@pytest.mark.parametrize("kind", ["palette", "2 bits", "4 bits", "rgb", "rgba", "la"])
def test_a_label_keeps_its_values(tmp_path: Path, kind: str) -> None:
    values, image = label(tmp_path)
    made = Image.fromarray(values)
    if kind == "palette":
        made = Image.fromarray(values, "P")
        made.putpalette([0, 0, 0, 250, 20, 20, 20, 250, 20] + [9] * 759)
        made.save(tmp_path / "label.png")
    elif "bits" in kind:
        bits = int(kind[0])
        (tmp_path / "label.png").write_bytes(png_of_few_bits(values, bits))
        assert np.asarray(Image.open(tmp_path / "label.png")).max() == (170 if bits == 2 else 34)
    else:
        made.convert(kind.upper()).save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_label(tmp_path / "label.png", LABELS, image), values.T)


def png_of_few_bits(values: np.ndarray, bits: int) -> bytes:
    """Write a grey PNG of 2 or 4 bits, which Pillow only reads."""
    import zlib

    per_byte = 8 // bits
    wide = np.pad(values, ((0, 0), (0, -values.shape[1] % per_byte))).reshape(len(values), -1, per_byte)
    packed = (wide << (8 - bits * np.arange(1, per_byte + 1))).sum(axis=-1).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", values.shape[1], len(values), bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_label_in_colours_is_refused(tmp_path: Path) -> None:
    values, image = label(tmp_path)
    Image.fromarray(np.stack([values == 1, values == 2, values == 0], axis=-1).astype(np.uint8)).save(
        tmp_path / "label.png"
    )
    with pytest.raises(LabelError, match="one value per voxel.*PNG in grey"):
        read_label(tmp_path / "label.png", LABELS, image)


def test_a_label_of_changed_values_is_refused(tmp_path: Path) -> None:
    values, image = label(tmp_path)
    Image.fromarray(values).save(tmp_path / "label.png", format="JPEG", quality=100)
    with pytest.raises(LabelError, match="label.png: is a JPEG, .* as PNG"):
        read_label(tmp_path / "label.png", LABELS, image)


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_tiff_is_turned_as_itk_turns_it_or_refused(tmp_path: Path, tag: int) -> None:
    picture().save(tmp_path / "a.tif", tiffinfo={274: tag})
    if tag > 4:
        with pytest.raises(ImageError, match=f"a.tif: its orientation tag is {tag}.*upright"):
            read_image(tmp_path / "a.tif")
        return
    seen = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.tif")))
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.tif")[0].T, seen if seen.ndim == 2 else seen[..., 0]
    )


def test_the_pages_of_a_tiff_are_slices_as_in_itk(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY + i) for i in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match=r"a.tif: has shape \(50, 40, 5\).*split"):
        read_image(tmp_path / "a.tif")
    volume = read_volume(tmp_path / "a.tif")[0][0]
    np.testing.assert_array_equal(volume, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.tif"))).T)


@pytest.mark.parametrize("deep", [False, True])
def test_pages_that_are_white_at_their_minimum_are_inverted(tmp_path: Path, deep: bool) -> None:
    grey = np.stack([(DEEP if deep else GREY) // 2 + i for i in range(5)])
    pages = [Image.fromarray(np.iinfo(grey.dtype).max - page) for page in grey]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with_tag(tmp_path / "a.tif", 262, 0)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif")[0][0], grey.T)


def test_pages_of_several_sizes_are_refused(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY)
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[picture.resize((20, 16))])
    with pytest.raises(ImageError, match=r"a.tif: its pages differ in size, .*: save the picture alone"):
        read_image(tmp_path / "a.tif")


def test_a_kind_of_tiff_that_pillow_does_not_read_is_named_as_that(tmp_path: Path) -> None:
    """Big-endian grey of 16 bits is read, but not where it is white at its minimum."""
    Image.fromarray(DEEP.astype(">u2")).save(tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes()[:2] == b"MM"
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0].T, DEEP)
    with_tag(tmp_path / "a.tif", 262, 0)
    with pytest.raises(ImageError, match=r"a.tif: is a kind of TIFF .* save it as PNG$"):
        read_image(tmp_path / "a.tif")


def test_turned_pages_are_refused(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tif", save_all=True, append_images=[picture()] * 4, tiffinfo={274: 3})
    with pytest.raises(ImageError, match="a.tif: its orientation tag is 3.*upright"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".tif"])
def test_some_nan_become_the_minimum(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, extension: str
) -> None:
    pixels = GREY.astype(np.float32) + 7
    pixels[:2], pixels[3, 3], pixels[3, 4] = np.nan, np.inf, -np.inf
    path = tmp_path / f"a{extension}"
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    grey = read_image(path)[0].T
    low, high = pixels[np.isfinite(pixels)].min(), pixels[np.isfinite(pixels)].max()
    assert (grey[:2] == low).all() and grey[3, 3] == high and grey[3, 4] == low
    np.testing.assert_array_equal(grey[4:], pixels[4:])
    assert f"{path}: 102 of 2000 values are not finite" in caplog.text


def test_a_volume_with_nan_is_read_up_to_the_share(tmp_path: Path) -> None:
    voxels = np.random.default_rng(1).normal(size=(10, 10, 10)).astype(np.float32)
    for share, fits in ((0.3, True), (MAX_NOT_FINITE, True), (MAX_NOT_FINITE + 0.1, False)):
        some = voxels.copy()
        some[: round(share * 10)] = np.nan
        nibabel.save(nibabel.Nifti1Image(some, np.eye(4)), tmp_path / "mr.nii.gz")
        if fits:
            assert read_volume(tmp_path / "mr.nii.gz")[0].min() == np.nanmin(some)
        else:
            with pytest.raises(ImageError, match="mr.nii.gz: 600 of 1000 values are not finite, 50% may be"):
                read_volume(tmp_path / "mr.nii.gz")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.float64, np.int8])
@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
def test_labels_of_every_whole_type_are_read(tmp_path: Path, dtype: type[np.generic], extension: str) -> None:
    values, image = label(tmp_path)
    path, typed = tmp_path / f"label{extension}", values.T.astype(dtype)[..., None]
    if extension == ".nrrd":
        nrrd.write(str(path), typed)
    else:
        nibabel.save(nibabel.Nifti1Image(typed, np.diag([-1, -1, 1, 1]), dtype=dtype), path)
    np.testing.assert_array_equal(read_label(path, LABELS, image), values.T)


def test_imaginary_parts_are_named(tmp_path: Path) -> None:
    values, image = label(tmp_path)
    complex_values = values.T[..., None].astype(np.complex64)
    complex_values[:2, 0] += 3j
    nibabel.save(nibabel.Nifti1Image(complex_values, np.eye(4)), tmp_path / "label.nii.gz")
    notes: list[str] = []
    np.testing.assert_array_equal(read_label(tmp_path / "label.nii.gz", LABELS, image, notes), values.T)
    assert notes == ["2 voxels have an imaginary part, which is dropped"]
    with pytest.raises(ImageError, match="complex values; save their magnitude"):
        read_image(tmp_path / "label.nii.gz")


def test_overlaps_are_counted(tmp_path: Path) -> None:
    _, image = label(tmp_path)
    layers = np.zeros((2, 50, 40, 1), np.uint8)
    layers[0, 5:25, 5:25], layers[1, 15:35, 15:35] = 1, 1
    header = {f"Segment{i}_Name": name for i, name in enumerate(LABELS)}
    header |= {f"Segment{i}_LabelValue": "1" for i in range(2)} | {
        f"Segment{i}_Layer": str(i) for i in range(2)
    }
    nrrd.write(
        str(tmp_path / "label.seg.nrrd"), layers, header={**header, "kinds": ["list", *["domain"] * 3]}
    )
    notes: list[str] = []
    found = read_label(tmp_path / "label.seg.nrrd", LABELS, image, notes)
    assert notes == ["segments overlap in 100 voxels, where the later segment of the file is kept"]
    assert (found[15:25, 15:25] == 2).all() and (found == 1).sum() == 300
