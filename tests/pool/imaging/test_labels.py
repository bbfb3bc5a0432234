"""Label files: those that fit are read to the right values, all others are refused with what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from pool.imaging.label_values import own_values
from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, ReadLabeld, check_label, read_label

LABELS = {"right lung": 1, "left lung": 2}
COLORS = {"right lung": [255, 0, 51], "left lung": [0, 255, 0]}
SIZE = (24, 20)  # (W, H)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """Write a grey image without geometry."""
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE[::-1])).save(path)
    return path


def drawn() -> np.ndarray:
    """Make a label (W, H) that every flip and transposition changes."""
    label = np.zeros(SIZE, np.uint8)
    label[2:7, 3:15], label[15:20, 4:9] = 1, 2
    return label


def header(*segments: tuple[str, int, int], **more: Any) -> dict[str, Any]:
    """Make the header fields of a segmentation from (name, value, layer) of each segment."""
    fields = dict(more)
    for i, (name, value, layer) in enumerate(segments):
        fields |= {f"Segment{i}_ID": f"S{i}", f"Segment{i}_Name": name}
        fields |= {f"Segment{i}_LabelValue": str(value), f"Segment{i}_Layer": str(layer)}
    return fields


def nifti(path: Path, plane: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(plane[..., None], affine), path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.nii.gz", "a.nii", "a.nrrd", "a.seg.nrrd"])
def test_written_label_is_read_back(tmp_path: Path, png: Path, name: str) -> None:
    write_label(tmp_path / name, drawn(), np.eye(4), LABELS, COLORS)
    back = read_label(tmp_path / name, LABELS, png)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, drawn())


def test_png_is_written_with_rows_from_the_top(tmp_path: Path) -> None:
    write_label(tmp_path / "a.png", drawn(), np.eye(4), LABELS, COLORS)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), drawn().T)


def test_written_nrrd_carries_names_values_colours_and_geometry(tmp_path: Path) -> None:
    affine = np.array([[-0.5, 0, 0, 7], [0, -0.25, 0, 8], [0, 0, 2, 9], [0, 0, 0, 1.0]])
    write_label(tmp_path / "a.nrrd", drawn(), affine, LABELS, COLORS)
    write_label(tmp_path / "a.nii.gz", drawn(), affine, LABELS, COLORS)
    found = nrrd.read_header(str(tmp_path / "a.nrrd"))
    assert [found[f"Segment{i}_Name"] for i in (0, 1)] == ["right lung", "left lung"]
    assert [found[f"Segment{i}_LabelValue"] for i in (0, 1)] == ["1", "2"]
    assert found["Segment0_Color"] == "1.0000 0.0000 0.2000"
    np.testing.assert_allclose(found["space directions"], np.diag([0.5, 0.25, 2]))
    np.testing.assert_allclose(found["space origin"], [-7, -8, 9])
    np.testing.assert_allclose(nibabel.Nifti1Image.from_filename(tmp_path / "a.nii.gz").affine, affine)


def test_other_formats_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"'\.jpg'.*\.png.*\.nrrd"):
        write_label(tmp_path / "a.jpg", drawn(), np.eye(4), LABELS, COLORS)
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.parametrize("names", [("Right_Lung", "LEFT LUNG"), ("right-lung", "leftlung")])
def test_segments_count_by_name_whatever_their_values(
    tmp_path: Path, png: Path, names: tuple[str, str]
) -> None:
    swapped = np.choose(drawn(), [0, 2, 1]).astype(np.uint8)  # 1 is the left lung in this file
    path = tmp_path / "a.seg.nrrd"
    nrrd.write(str(path), swapped[..., None], header=header((names[1], 1, 0), (names[0], 2, 0)))
    np.testing.assert_array_equal(read_label(path, LABELS, png), drawn())


def test_layers_of_overlapping_segments_are_merged_later_ones_on_top(tmp_path: Path, png: Path) -> None:
    right, left = np.zeros((2, *SIZE, 1), np.uint8)
    right[2:10, 3:15], left[8:20, 4:9] = 1, 1
    path = tmp_path / "a.seg.nrrd"
    nrrd.write(str(path), np.stack([right, left]), header=header(("Right lung", 1, 0), ("Left lung", 1, 1)))
    expected = np.where(left > 0, 2, right)[..., 0]
    np.testing.assert_array_equal(read_label(path, LABELS, png), expected)


def test_layers_on_an_image_with_spacing_stay_in_place(tmp_path: Path) -> None:
    affine = np.diag([-0.5, -0.5, 1, 1.0])
    image = nifti(tmp_path / "image.nii", np.arange(480, dtype=np.int16).reshape(SIZE), affine)
    path, plane = tmp_path / "a.seg.nrrd", drawn()[..., None]
    nowhere = [np.nan] * 3
    fields = header(
        ("right lung", 1, 0),
        ("left lung", 1, 1),
        **{"space": "left-posterior-superior", "kinds": ["list", "domain", "domain", "domain"]},
        **{"space directions": [nowhere, [0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]], "space origin": [0, 0, 0]},
    )
    nrrd.write(str(path), np.stack([plane == 1, plane == 2]).astype(np.uint8), header=fields)
    np.testing.assert_array_equal(read_label(path, LABELS, image), drawn())


@pytest.mark.parametrize(
    ("segments", "says"),
    [
        ([("right lung", 1, 0), ("Heart", 2, 0)], "segment 'Heart' is not one of right lung, left lung"),
        ([("right lung", 1, 0)], r"values \[2\] belong to no named segment"),
    ],
)
def test_unknown_segment_is_refused(
    tmp_path: Path, png: Path, segments: list[tuple[str, int, int]], says: str
) -> None:
    nrrd.write(str(tmp_path / "a.seg.nrrd"), drawn()[..., None], header=header(*segments))
    with pytest.raises(LabelError, match=says):
        read_label(tmp_path / "a.seg.nrrd", LABELS, png)


def test_unknown_segment_without_pixels_does_no_harm(tmp_path: Path, png: Path) -> None:
    fields = header(("right lung", 1, 0), ("left lung", 2, 0), ("Segment_3", 3, 0))
    nrrd.write(str(tmp_path / "a.seg.nrrd"), drawn()[..., None], header=fields)
    np.testing.assert_array_equal(read_label(tmp_path / "a.seg.nrrd", LABELS, png), drawn())


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nrrd"])
def test_unknown_value_is_refused_with_those_that_are_known(tmp_path: Path, png: Path, name: str) -> None:
    plane = drawn() * 100
    if name.endswith(".png"):
        Image.fromarray(plane.T.copy()).save(tmp_path / name)
    elif name.endswith(".nrrd"):
        nrrd.write(str(tmp_path / name), plane[..., None])
    else:
        nifti(tmp_path / name, plane, np.eye(4))
    with pytest.raises(LabelError, match=r"\[100, 200\].*0 background, 1 right lung, 2 left lung"):
        read_label(tmp_path / name, LABELS, png)


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nrrd"])
def test_another_size_is_refused(tmp_path: Path, png: Path, name: str) -> None:
    write_label(tmp_path / name, drawn()[:-4], np.eye(4), LABELS, COLORS)
    with pytest.raises(LabelError, match="label is 20 x 20 pixels, its image 24 x 20"):
        read_label(tmp_path / name, LABELS, png)


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nrrd", "a.txt"])
def test_damaged_file_is_refused_by_name(tmp_path: Path, png: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no label at all")
    with pytest.raises(LabelError, match=name):
        read_label(tmp_path / name, LABELS, png)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"Segment0_Layer": "-1"}, "Segment0_Layer is -1, and the file has 1, counted from 0"),
        ({"Segment0_Layer": "1"}, "Segment0_Layer is 1, and"),
        ({"Segment0_LabelValue": "0"}, "Segment0_LabelValue is 0, which is the background"),
        ({"Segment0_LabelValue": "1.5"}, "Segment0_LabelValue is '1.5', not a whole number"),
        ({"Segment2_Name": "left lung", "Segment2_LabelValue": "2"}, "Segment1_Name is missing"),
        ({"Segment0_Name": None, "Segment1_Name": "left lung"}, "Segment0_Name is missing"),
    ],
)
def test_segments_that_lie_nowhere_are_refused_by_their_key(
    tmp_path: Path, png: Path, fields: dict[str, str | None], says: str
) -> None:
    """The background, or another layer, would become a structure."""
    label = tmp_path / "a.seg.nrrd"
    made = header(("right lung", 1, 0)) | fields
    nrrd.write(str(label), drawn()[..., None], header={k: v for k, v in made.items() if v is not None})
    with pytest.raises(LabelError, match=rf"a\.seg\.nrrd: .*{re.escape(says)}.*; save it again"):
        read_label(label, LABELS, png)


@pytest.mark.parametrize("field", ["data file", "datafile", "Data File"])
@pytest.mark.parametrize("named", [True, False])
def test_an_upload_that_names_a_file_of_the_server_is_refused(
    tmp_path: Path, png: Path, field: str, named: bool
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"ab" * (SIZE[0] * SIZE[1] // 2))
    lines = ["NRRD0004", "type: uint8", "dimension: 2", "sizes: 24 20", "encoding: raw", f"{field}: {secret}"]
    if named:  # letters of the file would become structures
        lines += ["Segment0_Name:=right lung", "Segment0_LabelValue:=97"]
        lines += ["Segment1_Name:=left lung", "Segment1_LabelValue:=98"]
    label = tmp_path / "label.seg.nrrd"
    label.write_text("\n".join(lines) + "\n\n")
    with pytest.raises(LabelError, match="in another file"):
        read_label(label, LABELS, png)
    sent = {"label_info": [{"name": "right lung", "idx": 97}, {"name": "left lung", "idx": 98}]}
    with pytest.raises(LabelError, match="in another file"), own_values(str(label), sent, LABELS):
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5])
def test_values_that_are_no_whole_numbers_are_refused_by_name(
    tmp_path: Path, png: Path, value: float
) -> None:
    label = nifti(tmp_path / "a.nii.gz", np.full(SIZE, value, np.float32), np.eye(4))
    sent = {"label_info": [{"name": "right lung", "idx": 1}]}
    with own_values(str(label), sent, LABELS) as kept, pytest.raises(LabelError, match="this app knows"):
        check_label(kept, LABELS, png)


def test_empty_label_needs_the_annotators_word(tmp_path: Path, png: Path) -> None:
    write_label(tmp_path / "a.png", np.zeros(SIZE), np.eye(4), LABELS, COLORS)
    with pytest.raises(LabelError, match="'empty': true"):
        check_label(tmp_path / "a.png", LABELS, png)
    check_label(tmp_path / "a.png", LABELS, png, allow_empty=True)


@pytest.mark.parametrize("change", ["flipped", "cropped", "both"])
def test_label_with_geometry_lands_where_it_was_drawn(tmp_path: Path, change: str) -> None:
    affine = np.array([[0.5, 0, 0, -3], [0, 0.25, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    image = nifti(tmp_path / "image.nii.gz", np.arange(480, dtype=np.int16).reshape(SIZE), affine)
    plane, own = drawn(), affine.copy()
    if change != "flipped":  # cut away 2 columns and 3 rows, no label is in them
        plane, own = plane[2:, 3:], own.copy()
        own[:3, 3] += affine[:3, 0] * 2 + affine[:3, 1] * 3
    if change != "cropped":
        own[:3, 3] += own[:3, 0] * (len(plane) - 1)
        own[:3, 0] *= -1
        plane = plane[::-1].copy()
    path = nifti(tmp_path / "label.nii.gz", plane, own)
    np.testing.assert_array_equal(read_label(path, LABELS, image), drawn())


def test_transform_reads_on_the_grid_of_the_image_even_once_that_is_read(tmp_path: Path, png: Path) -> None:
    write_label(tmp_path / "a.png", drawn(), np.eye(4), LABELS, COLORS)
    image = MetaTensor(torch.zeros(1, *SIZE), meta={"filename_or_obj": str(png)})
    for given in (str(png), image):
        out = ReadLabeld("label", LABELS)({"image": given, "label": str(tmp_path / "a.png")})
        assert out["label"].shape == (1, *SIZE)
        np.testing.assert_array_equal(out["label"][0].numpy(), drawn())
