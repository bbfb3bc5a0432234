"""CT and MR series: a volume's label becomes a SEG and comes back voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from pool.dicomweb.cache import convert, headers_of
from pool.dicomweb.client import SeriesError
from pool.dicomweb.seg import read_seg, write_seg
from pool.dicomweb.store import DicomWebPool, search_filters
from pool.errors import PoolError
from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, read_label
from tests.ct_series import write_series
from tests.orthanc import Orthanc

LABELS = {"anterior": 1, "posterior": 2}
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, 30], [0, 0, 3, -40], [0, 0, 0, 1.0]])
SIZE = (12, 10, 7)


def slices(folder: Path) -> Path:
    x, y, z = np.indices(SIZE)
    return write_series(folder, (x + 20 * y + 300 * z).astype(np.int16), AFFINE)


def drawn() -> np.ndarray:
    label = np.zeros(SIZE, np.uint8)
    label[2:6, 3:9, 1:4], label[7:12, 4:8, 5:7] = 1, 2
    return label


def test_headers_are_in_the_order_of_the_volumes_slices(tmp_path: Path) -> None:
    series = slices(tmp_path / "series")
    convert(series, tmp_path / "a.nii.gz")
    volume = nibabel.nifti1.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    headers = headers_of(series)
    assert [int(header.InstanceNumber) for header in headers] == [1, 2, 3, 4, 5, 6, 7]
    assert np.asarray(volume.dataobj)[3, 4, 5] == 3 + 80 + 1500


def test_series_that_no_label_could_be_stored_for_are_refused_when_they_are_read(tmp_path: Path) -> None:
    phases = slices(tmp_path / "phases")
    for file in list(phases.glob("*.dcm")):  # a second phase: the same places, other pixels
        image = dcmread(file)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InstanceNumber += 7
        image.save_as(phases / f"second-{file.name}", write_like_original=False)
    with pytest.raises(SeriesError, match="7 of its 14 slices .* phases or echoes"):
        convert(phases, tmp_path / "a.nii.gz")
    frames = tmp_path / "frames"
    frames.mkdir()
    image = dcmread(next(slices(tmp_path / "one").glob("*.dcm")))
    image.NumberOfFrames, image.PixelData = 3, image.PixelData * 3
    image.save_as(frames / "a.dcm", write_like_original=False)
    with pytest.raises(SeriesError, match="3 frames in one file, and labels need one file per slice"):
        convert(frames, tmp_path / "b.nii.gz")
    assert not list(tmp_path.glob("*.nii.gz"))


def test_label_comes_back_as_it_was_written(tmp_path: Path) -> None:
    headers = headers_of(slices(tmp_path / "series"))
    seg = write_seg(drawn(), headers, LABELS)
    np.testing.assert_array_equal(read_seg(seg, LABELS, SIZE, headers), drawn())
    assert not read_seg(write_seg(drawn() * 0, headers, LABELS), LABELS, SIZE, headers).any()


def test_frames_that_name_no_image_are_placed_by_their_position(tmp_path: Path) -> None:
    headers = headers_of(slices(tmp_path / "series"))
    seg = write_seg(drawn(), headers, LABELS)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence
    np.testing.assert_array_equal(read_seg(seg, LABELS, SIZE, headers), drawn())
    seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [-20, -30, 9]
    with pytest.raises(LabelError, match="none of the series' slices"):
        read_seg(seg, LABELS, SIZE, headers)


def test_segmentation_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    headers = headers_of(slices(tmp_path / "series"))
    with pytest.raises(LabelError, match="one frame each"):
        write_seg(drawn(), headers[1:], LABELS)
    seg = write_seg(drawn(), headers, LABELS)
    shared = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    shared.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    with pytest.raises(LabelError, match="other planes"):
        read_seg(seg, LABELS, SIZE, headers)


def test_volume_on_a_dicom_server_is_labelled(make_orthanc: Callable[[], Orthanc], tmp_path: Path) -> None:
    orthanc = make_orthanc()
    files = [dcmread(path) for path in slices(tmp_path / "series").iterdir()]
    orthanc.add(*files)

    def opened(folder: str) -> DicomWebPool:
        filters = search_filters(["CT", "MR"])
        return DicomWebPool(orthanc.url, tmp_path / folder, LABELS, filters, every=0.0)

    pool, image = opened("cache"), str(files[0].SeriesInstanceUID)
    assert pool.list_images() == [image]
    write_label(tmp_path / "sent.nii.gz", drawn(), AFFINE, LABELS, {})
    pool.save_label(image, str(tmp_path / "sent.nii.gz"), "final", {})
    for where in (pool, opened("elsewhere")):
        (pair,) = where.datalist()
        np.testing.assert_array_equal(read_label(pair["label"], LABELS, pair["image"]), drawn())
    with pytest.raises(PoolError, match="422|values"):
        write_label(tmp_path / "bad.nii.gz", drawn() * 2, AFFINE, LABELS, {})
        pool.save_label(image, str(tmp_path / "bad.nii.gz"), "final", {})
