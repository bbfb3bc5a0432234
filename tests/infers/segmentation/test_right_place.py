"""Image, real inference, saved label and stored label: every voxel stays where it was predicted."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from nibabel.orientations import inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image
from scipy.spatial.transform import Rotation

from bundle_configs import Bundle
from infers.segmentation.task import SegmentationInfer
from pool.datastore.store import PoolDatastore
from pool.dicomweb.store import DicomWebPool, search_filters
from pool.imaging.images import read_array
from pool.imaging.labels import read_label
from tests.orthanc import Orthanc, radiograph
from tests.pool.dicomweb.test_right_place import turned_series
from tests.pool.imaging.test_geometry import affines, assert_same_geometry
from tests.server.published import publish

TISSUES, LUNGS = {"oedema": 1, "tumour": 2}, {"right lung": 1, "left lung": 2}
VOLUMES = {"channels": "[4,8]", "window": "[8,8,8]", "labels": '{"oedema": 1, "tumour": 2}'}
XRAYS = {"image_size": 64, "channels": "[4,8,16]"}
SHAPE = (14, 12, 10)
ORIENTATIONS = [
    np.array(list(zip(order, signs, strict=True)))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
Infer = Callable[[Path | str, str], Path]


@pytest.fixture(autouse=True)
def written_into_the_tests_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def published(folder: Path, app: str, conf: dict[str, object]) -> Infer:
    publish(folder, app, conf)
    task = SegmentationInfer(folder / "model.pt", Bundle(app))

    def infer(image: Path | str, extension: str) -> Path:
        request = {"image": str(image), "device": "cpu", "result_extension": extension}
        return Path(task(request)[0])

    return infer


@pytest.fixture
def volumes(tmp_path: Path) -> Infer:
    return published(tmp_path / "state", "volumes", VOLUMES)


@pytest.fixture
def xrays(tmp_path: Path) -> Infer:
    return published(tmp_path / "state", "cxr_lungs", XRAYS)


def stored_from(store: PoolDatastore, image: Path, predicted: Path, labels: dict[str, int]) -> np.ndarray:
    """Save a prediction of an image of the pool as its label; return what is stored, and compare the two."""
    name = image.name.split(".")[0]
    store.save_label(name, str(predicted), "final", {})
    stored = read_label(store.get_label_uri(name, "final"), labels, image)
    array = read_array(predicted, stored=True)[0]
    np.testing.assert_array_equal(stored, array.reshape(stored.shape), err_msg=predicted.name)
    return stored


def write_turned(path: Path, image: nibabel.Nifti1Image) -> None:
    """Write a volume as NIfTI by either form, or as NRRD."""
    if path.name.endswith(".nrrd"):
        affine = np.diag([-1.0, -1, 1, 1]) @ image.affine
        header = {
            "space": "left-posterior-superior",
            "space directions": affine[:3, :3].T,
            "space origin": affine[:3, 3],
        }
        nrrd.write(str(path), np.asarray(image.dataobj), header=header)
        return
    header, codes = nibabel.Nifti1Header(), (0, 1) if path.name.endswith(".nii") else (2, 0)
    header.set_data_dtype(np.float32)
    header.set_sform(image.affine, codes[0])
    header.set_qform(image.affine, codes[1])
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, header), path)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd"])
def test_all_orientations_of_a_volume_have_one_prediction(
    tmp_path: Path, volumes: Infer, opened: Callable[[dict[str, int]], PoolDatastore], extension: str
) -> None:
    """The network sees the same voxels in all 48, so what is stored for each is the same, turned."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (9, -7, 12), degrees=True).as_matrix() * (0.7, 1, 3)
    affine[:3, 3] = -70.3, 12.6, 250.1
    voxels = np.random.default_rng(4).normal(size=SHAPE).astype(np.float32)
    straight, store, first = nibabel.Nifti1Image(voxels, affine), opened(TISSUES), None
    results = itertools.cycle([".nii.gz", ".nrrd", ".nii", ".seg.nrrd"])
    for number, turn in enumerate(ORIENTATIONS):
        write_turned(file := tmp_path / f"v{number}{extension}", straight.as_reoriented(turn))
        store.add_image(f"v{number}", str(file), {})
        image = Path(store.get_image_uri(f"v{number}"))
        predicted = volumes(image, next(results))
        assert_same_geometry(predicted, image)
        stored = stored_from(store, image, predicted, TISSUES)
        label = nibabel.Nifti1Image(stored, straight.affine @ inv_ornt_aff(turn, SHAPE))
        back = label.as_reoriented(ornt_transform(io_orientation(label.affine), io_orientation(affine)))
        seen = np.asarray(back.dataobj)
        first = seen if first is None else first
        assert len(np.unique(seen)) > 1
        np.testing.assert_array_equal(seen, first, err_msg=str(turn.tolist()))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a.png", {}),
        ("a.jpg", {"dpi": (300, 300)}),
        ("a.tif", {"dpi": (72, 96)}),
        ("a.tif", {"tiffinfo": {274: 2}}),
        ("a.tif", {"tiffinfo": {274: 3}}),
        ("a.tif", {"tiffinfo": {274: 4}}),
        ("a.dcm", {}),
        ("a.nii.gz", {}),
        ("a.nrrd", {}),
    ],
)
def test_a_picture_of_each_format(
    tmp_path: Path,
    xrays: Infer,
    opened: Callable[[dict[str, int]], PoolDatastore],
    name: str,
    more: dict[str, object],
) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (40, 50), dtype=np.uint8)
    pixels[5:20, 8:20], file, store = 250, tmp_path / name, opened(LUNGS)
    if name.endswith(".dcm"):
        radiograph("a", pixels, "CT").save_as(file, write_like_original=False)
    elif name.endswith((".nii.gz", ".nrrd")):
        made = sitk.GetImageFromArray(pixels[None])
        made.SetSpacing((0.3, 0.4, 5))
        made.SetOrigin((12.5, -70, 3))
        sitk.WriteImage(made, str(file))
    else:
        Image.fromarray(pixels).save(file, **more)
    store.add_image("a", str(file), {})
    image = Path(store.get_image_uri("a"))
    results = []
    for extension in (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".png"):
        predicted = xrays(image, extension)
        if extension != ".png":
            assert_same_geometry(predicted, image)
        results.append(stored_from(store, image, predicted, LUNGS))
    assert len(np.unique(results)) > 1 and all((result == results[0]).all() for result in results)


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(affine=affines())
def test_a_series_of_a_dicom_server_in_any_orientation(
    orthanc: Orthanc, volumes: Infer, tmp_path_factory: pytest.TempPathFactory, affine: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("turned")
    files = turned_series(folder / "series", affine)
    orthanc.add(*files)
    image, filters = str(files[0].SeriesInstanceUID), search_filters(["CT"])
    pool = DicomWebPool(orthanc.url, folder / "cache", TISSUES, filters, every=0.0)
    path = pool.get_image_uri(image)
    for extension in (".nrrd", ".nii.gz"):
        predicted = volumes(path, extension)
        assert_same_geometry(predicted, path)
        pool.save_label(image, str(predicted), "final", {})
        array = read_array(predicted, stored=True)[0]
        assert len(np.unique(array)) > 1
        np.testing.assert_array_equal(read_label(pool.get_label_uri(image, "final"), TISSUES, path), array)
    elsewhere = DicomWebPool(orthanc.url, folder / "elsewhere", TISSUES, filters, every=0.0)
    stored = elsewhere.get_label_uri(image, "final")  # comes back as SEG
    np.testing.assert_array_equal(read_label(stored, TISSUES, path), array)
    assert_same_geometry(stored, path)
