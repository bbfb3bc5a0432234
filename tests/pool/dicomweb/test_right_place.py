"""On a DICOM server: series, prediction, SEG and stored label have ITK's geometry, in any orientation."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from pool.dicomweb.cache import headers_of
from pool.dicomweb.seg import read_seg, write_seg
from pool.dicomweb.store import DicomWebPool, search_filters
from pool.imaging.geometry import lps
from pool.imaging.label_writer import write_label
from pool.imaging.labels import grid_of, read_label
from tests.ct_series import write_series
from tests.orthanc import Orthanc
from tests.pool.imaging.test_geometry import affines, assert_same_geometry, drawn

LABELS = {"one": 1, "two": 2}
SIZE = (9, 8, 5)


def turned_series(folder: Path, affine: np.ndarray) -> list[Dataset]:
    """Make a CT series whose slices lie as an affine says."""
    voxels = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE)
    files = [dcmread(path) for path in sorted(write_series(folder, voxels, np.eye(4)).iterdir())]
    in_lps, study, series = lps(affine), generate_uid(), generate_uid()
    lengths = np.linalg.norm(in_lps[:3, :3], axis=0)
    along, down = (in_lps[:3, i] / lengths[i] for i in (0, 1))
    normal = np.cross(along, down) * lengths[2]
    for file in files:
        z = int(file.InstanceNumber) - 1
        file.StudyInstanceUID, file.SeriesInstanceUID = study, series
        file.ImageOrientationPatient = [f"{value:.10f}" for value in (*along, *down)]
        file.ImagePositionPatient = [f"{value:.10f}" for value in in_lps[:3, 3] + z * normal]
        file.PixelSpacing, file.SliceThickness = [lengths[1], lengths[0]], lengths[2]
    return files


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(affine=affines())
def test_a_series_in_any_orientation(
    orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory, affine: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("turned")
    files = turned_series(folder / "series", affine)
    orthanc.add(*files)
    image = str(files[0].SeriesInstanceUID)

    def opened(name: str) -> DicomWebPool:
        return DicomWebPool(orthanc.url, folder / name, LABELS, search_filters(["CT"]), every=0.0)

    pool, label = opened("cache"), drawn(SIZE)
    path = pool.get_image_uri(image)
    shape, own = grid_of(path)
    assert shape == SIZE
    copied = sitk.GetImageFromArray(label.T)
    copied.CopyInformation(sitk.ReadImage(path))
    sitk.WriteImage(copied, str(folder / "copied.nrrd"))
    for extension in (".nii.gz", ".nrrd"):
        write_label(folder / f"predicted{extension}", label, own, LABELS, {}, path)
        assert_same_geometry(folder / f"predicted{extension}", path)
    for name in ("predicted.nii.gz", "predicted.nrrd", "copied.nrrd"):
        pool.save_label(image, str(folder / name), "final", {})
        np.testing.assert_array_equal(read_label(pool.get_label_uri(image, "final"), LABELS, path), label)
    elsewhere = opened("elsewhere")  # the label comes back as SEG
    stored = elsewhere.get_label_uri(image, "final")
    np.testing.assert_array_equal(read_label(stored, LABELS, path), label)
    assert_same_geometry(stored, path)


def test_what_is_not_kept_of_a_label_is_noted(orthanc: Orthanc, tmp_path: Path) -> None:
    files = turned_series(tmp_path / "series", np.diag([-1.0, -1, 2, 1]))
    orthanc.add(*files)
    pool = DicomWebPool(orthanc.url, tmp_path / "cache", LABELS, search_filters(["CT"]), every=0.0)
    layers = np.zeros((2, *SIZE), np.uint8)
    layers[0, :5], layers[1, 3:] = 1, 1
    header: dict[str, object] = {"kinds": ["list", *["domain"] * 3]}
    for i, name in enumerate(LABELS):
        header |= {f"Segment{i}_Name": name, f"Segment{i}_LabelValue": "1", f"Segment{i}_Layer": str(i)}
    nrrd.write(str(tmp_path / "two.seg.nrrd"), layers, header=header)
    image = str(files[0].SeriesInstanceUID)
    pool.save_label(image, str(tmp_path / "two.seg.nrrd"), "final", {})
    (said,) = pool.get_label_info(image, "final")["warnings"]
    assert said.startswith("segments overlap in 80 voxels")


def test_segments_that_are_dropped_or_overlap_are_counted(tmp_path: Path) -> None:
    series = tmp_path / "series"
    write_series(series, np.zeros(SIZE, np.int16), np.diag([-1.0, -1, 2, 1]))
    headers, label = headers_of(series), drawn(SIZE)
    label[3:, :, 0], label[3:, :, 1:] = 1, 2
    seg = write_seg(label, headers, LABELS | {"scribble": 3})
    notes: list[str] = []
    np.testing.assert_array_equal(read_seg(seg, LABELS, SIZE, headers, notes), label)
    assert notes == ["the segments scribble are left out: the app does not have them"]
    for frame in seg.PerFrameFunctionalGroupsSequence:  # as if all frames showed the first slice
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = headers[
            0
        ].SOPInstanceUID
    notes.clear()
    read_seg(seg, LABELS, SIZE, headers, notes)
    assert notes[1:] == ["segments overlap in 48 voxels, where the later segment of the file is kept"]


def test_the_note_of_a_child_reaches_the_server(orthanc: Orthanc, tmp_path: Path) -> None:
    files = turned_series(tmp_path / "series", np.diag([-1.0, -1, 2, 1]))
    orthanc.add(*files)
    filters, image = search_filters(["CT"]), str(files[0].SeriesInstanceUID)
    server = DicomWebPool(orthanc.url, tmp_path / "cache", LABELS, filters, every=60.0)
    child = DicomWebPool(orthanc.url, tmp_path / "cache", LABELS, filters, every=60.0, read_only=True)
    shape, own = grid_of(child.get_image_uri(image))
    write_label(tmp_path / "predicted.nii.gz", drawn(shape), own, LABELS, {}, child.get_image_uri(image))
    child.save_label(
        image, str(tmp_path / "predicted.nii.gz"), "original", {"params": {"label_names": {"two": 2}}}
    )
    assert server.get_label_uri(image, "original") == ""
    server.take_over_changes()
    assert server.get_label_info(image, "original")["params"] == {"label_names": {"two": 2}}
    np.testing.assert_array_equal(
        read_label(server.get_label_uri(image, "original"), LABELS, server.get_image_uri(image)), drawn(shape)
    )
