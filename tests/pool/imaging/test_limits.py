"""A file that declares too much, or raises anything while it is read, is refused by name and at once."""

from __future__ import annotations

import gzip
import re
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pool.imaging.errors import ImageError, LabelError, reason_of
from pool.imaging.geometry import read_header
from pool.imaging.images import read_image, unit_range
from pool.imaging.label_check import label_extension
from pool.imaging.label_values import own_values
from pool.imaging.labels import read_label
from pool.imaging.volumes import read_volume, volume_grid
from tests.orthanc import radiograph

LABELS = {"one": 1, "two": 2}
GREY = np.arange(480, dtype=np.uint16).reshape(20, 24).astype(np.uint8)
RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def nifti(file: Path, shape: tuple[int, ...], skipped: float = 352) -> None:
    """Write a header alone."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"], header["sform_code"] = skipped, b"n+1", 1
    header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
    data = header.binaryblock + b"\0" * 4
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def png(file: Path) -> None:
    Image.fromarray(GREY).save(file)
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    file.write_bytes(data)


def jpeg(file: Path) -> None:
    Image.fromarray(GREY).save(file)
    data = bytearray(file.read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    file.write_bytes(data)


def tiff(file: Path) -> None:
    Image.fromarray(GREY).save(file)
    data = bytearray(file.read_bytes())
    start = struct.unpack("<I", data[4:8])[0]
    for i in range(struct.unpack("<H", data[start : start + 2])[0]):
        place = start + 2 + 12 * i
        if struct.unpack("<H", data[place : place + 2])[0] in (256, 257):
            data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 60_000)
    file.write_bytes(data)


def nrrd_file(file: Path) -> None:
    lines = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 40000 40000 10", "encoding: gzip", "", ""]
    file.write_bytes("\n".join(lines).encode() + gzip.compress(b"\0" * 1000))


def long_header(file: Path) -> None:
    file.write_bytes(b"NRRD0004\n" + b"# x\n" * 200_000 + b"type: uint8\n")


def dicom(file: Path) -> None:
    data = radiograph("one", GREY)
    data.Rows = data.Columns = 65_535
    data.save_as(file, write_like_original=False)


def short_dicom(file: Path) -> None:
    data = radiograph("one", GREY)
    data.Rows = 200
    data.save_as(file, write_like_original=False)


def extended(file: Path) -> None:
    """Write a NIfTI header whose extension declares a gibibyte."""
    nifti(file, (24, 20, 1), 2**25)
    data = gzip.decompress(file.read_bytes())
    data = data[:348] + struct.pack("<Bxxxii", 1, 2**30, 6) + b"\0" * 2**20
    file.write_bytes(gzip.compress(data))


def deflated(file: Path) -> None:
    """Write a data set that unpacks to 129 MiB."""
    data = radiograph("one", GREY)
    data.add_new((0x0009, 0x0010), "LO", "tests")
    data.add_new((0x0009, 0x1001), "OB", b"\0" * (2**27 + 2**20))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(file, write_like_original=False)


BOMBS: dict[str, Callable[[Path], object]] = {
    "a.nii.gz": lambda file: nifti(file, (32_000, 32_000, 20)),
    "a.nii": lambda file: nifti(file, (32_000, 32_000, 20)),
    "small.nii.gz": lambda file: nifti(file, (1_000, 1_000, 9)),
    "far.nii": lambda file: nifti(file, (24, 20, 1), 1e9),
    "inside.nii": lambda file: nifti(file, (24, 20, 1), 0),
    "extended.nii.gz": extended,
    "a.png": png,
    "a.jpg": jpeg,
    "a.tif": tiff,
    "a.nrrd": nrrd_file,
    "comments.nrrd": long_header,
    "line.nrrd": lambda file: file.write_bytes(b"NRRD0004\n" + b"x" * 2_000_000),
    "a.dcm": dicom,
    "short.dcm": short_dicom,
    "deflated.dcm": deflated,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_declares_too_much_is_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BOMBS[name](path)
    refusal(read_image, path)  # libraries are loaded
    tracemalloc.start()
    started = time.process_time()
    refusals = [refusal(read, path) for read in (read_image, read_volume, unit_range)]
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < (5 if name == "deflated.dcm" else 1) and peak < 2**23
    for text in refusals:
        assert re.search(f"{name}: .*(declares|begin|too long|unpacks).*(remove|convert|again|save)", text)


def refusal(read: Callable[[Path], object], path: Path) -> str:
    """Return the words in which a file is refused."""
    try:
        read(path)
    except ImageError as error:
        return str(error)
    return ""


def write_image(folder: Path) -> Path:
    Image.fromarray(GREY).save(folder / "image.png")
    return folder / "image.png"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.png"])
def test_a_label_that_declares_too_much_is_refused_at_once(tmp_path: Path, name: str) -> None:
    image, path = write_image(tmp_path), tmp_path / name
    BOMBS[name](path)
    sent = {"label_info": [{"name": "one", "idx": 1}]}
    started = time.perf_counter()
    with pytest.raises(LabelError, match=f"{name}: its header declares"):
        read_label(path, LABELS, image)
    if name != "a.png":
        with (
            pytest.raises(LabelError, match=f"{name}: its header declares"),
            own_values(str(path), sent, LABELS),
        ):
            pass
    assert time.perf_counter() - started < 1


def test_a_label_much_larger_than_its_image_is_not_decompressed(tmp_path: Path) -> None:
    image = write_image(tmp_path)
    whole = nibabel.Nifti1Image(np.zeros((500, 500, 200), np.uint8), np.eye(4))
    nibabel.save(whole, tmp_path / "label.nii.gz")
    started = time.perf_counter()
    with pytest.raises(LabelError, match="label is 500 x 500 x 200 voxels, its image 24 x 20 pixels"):
        read_label(tmp_path / "label.nii.gz", LABELS, image)
    assert time.perf_counter() - started < 0.2


def broken(folder: Path) -> dict[str, Path]:
    """Write files that make libraries raise errors of many kinds, outside of decoding too."""
    files = {
        name: folder / name for name in ("rgb.nii.gz", "flat.nrrd", "word.nrrd", "cut.nii.gz", "cut.png")
    }
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 18, 9), RGB24), np.eye(4)), files["rgb.nii.gz"])
    space = {"space dimension": 2, "space directions": np.eye(2), "space origin": [0, 0]}
    nrrd.write(str(files["flat.nrrd"]), GREY.T, header=space)
    nrrd.write(str(files["word.nrrd"]), GREY.T)
    files["word.nrrd"].write_bytes(files["word.nrrd"].read_bytes().replace(b"sizes: 24 20", b"sizes: x 20"))
    nibabel.save(nibabel.Nifti1Image(np.random.rand(20, 18, 9), np.eye(4)), files["cut.nii.gz"])
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 80), np.uint8)).save(files["cut.png"])
    for name in ("cut.nii.gz", "cut.png"):
        files[name].write_bytes(files[name].read_bytes()[:-900])
    return files | {f"{'x' * 300}.png": folder / f"{'x' * 300}.png", "none.nrrd": folder / "none.nrrd"}


@pytest.mark.parametrize("read", [read_volume, read_header, volume_grid, read_image, unit_range])
def test_whatever_a_file_raises_names_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    for name, path in broken(tmp_path).items():
        if read in (read_header, volume_grid) and name in (
            "rgb.nii.gz",
            "cut.nii.gz",
            "cut.png",
            "flat.nrrd",
        ):
            continue  # their headers are whole
        if name == "flat.nrrd" and read in (read_image, unit_range):
            continue  # a picture
        with pytest.raises(ImageError) as caught:
            read(path)
        text = str(caught.value)
        assert text.startswith(str(path)) and "\n" not in text and "()" not in text
        assert not any(word in text for word in ("ITK-source", "SimpleITK", ".cxx", "0x", "Exception thrown"))


def test_whatever_a_label_raises_names_it(tmp_path: Path) -> None:
    image, files = write_image(tmp_path), broken(tmp_path)
    nrrd.write(
        str(tmp_path / "v.seg.nrrd"), GREY.T, header={"Segment0_Name": "one", "Segment0_LabelValue": "x"}
    )
    nrrd.write(str(tmp_path / "l.seg.nrrd"), GREY.T, header={"Segment0_Name": "one", "Segment0_Layer": "7"})
    for path in (*files.values(), tmp_path / "v.seg.nrrd", tmp_path / "l.seg.nrrd"):
        with pytest.raises(LabelError, match=r"\w"):
            read_label(path, LABELS, image)


def test_a_header_without_its_voxels_is_refused_by_name(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "a.nhdr"), GREY.T, detached_header=True)
    with pytest.raises(ImageError, match=r"a\.nhdr: keeps its voxels in a file beside it.*\.nrrd"):
        read_image(tmp_path / "a.nhdr")
    with pytest.raises(LabelError, match=r"a\.nhdr: keeps its voxels in a file beside it.*\.nrrd"):
        label_extension(str(tmp_path / "a.nhdr"))


def test_dicom_without_a_picture_says_what_it_is(tmp_path: Path) -> None:
    file = radiograph("one", GREY)
    file.SOPClassUID = "1.2.840.10008.1.3.10"  # the index of a disc
    for name in ("PixelData", "Rows", "Columns"):
        delattr(file, name)
    file.save_as(tmp_path / "DICOMDIR", write_like_original=False)
    with pytest.raises(ImageError, match=r"DICOMDIR: is DICOM without a picture \(Media Storage Directory"):
        read_image(tmp_path / "DICOMDIR")
    (tmp_path / "mark").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(ImageError, match="mark: is DICOM without a picture; remove it"):
        read_image(tmp_path / "mark")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "/tmp/ITK-source/ITK/Modules/IO/x.cxx:2135:\nITK ERROR: No orthonormal definition!",
            "No orthonormal definition!",
        ),
        ("Exception thrown in SimpleITK X: /w/y.cxx:9:\nsitk::ERROR: Unable to open it", "Unable to open it"),
        ("()\nITK ERROR: NrrdImageIO(0x55ab): ReadImageInformation: bad", "ReadImageInformation: bad"),
        ("Error reading it:\n[nrrd] load: trouble\n[nrrd] parse: not a number", "not a number"),
        ("", "RuntimeError"),
        ("()", "RuntimeError"),
    ],
)
def test_the_useful_line_of_a_librarys_error_is_shown(text: str, shown: str) -> None:
    assert reason_of(RuntimeError(text)) == shown
