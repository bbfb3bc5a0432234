"""Image, prediction, label and stored label have one geometry: the one that ITK reads from the image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from pool.datastore.store import PoolDatastore
from pool.imaging.geometry import lps, read_header
from pool.imaging.images import read_image
from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, grid_of, read_label
from pool.imaging.volumes import read_volume, volume_grid
from tests.orthanc import radiograph

LABELS = {"one": 1, "two": 2}
SIZE = (9, 8, 7)
TURNS = [
    np.diag(signs) @ np.eye(3)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]
EXAMPLES = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Make a label that touches every face, and that every flip and swap of axes changes."""
    label = (np.random.default_rng(5).random(shape) > 0.6).astype(np.uint8)
    label[:2, :3] = 2
    return label


def grey(shape: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def padded(path: Path | str) -> sitk.Image:
    """Read an image as ITK does, a 2-D one as one slice."""
    image = sitk.ReadImage(str(path))
    return image if image.GetDimension() == 3 else sitk.JoinSeries(image)


def assert_same_geometry(path: Path | str, image: Path | str) -> None:
    own, its = padded(path), padded(image)
    assert own.GetSize() == its.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(own, name)(), getattr(its, name)(), rtol=1e-5, atol=2e-4)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Draw an affine: one of 48 orientations, oblique or not, with any spacing and offset."""
    turn = draw(st.sampled_from(TURNS))
    if draw(st.booleans()):
        angles = draw(st.tuples(*[st.integers(-80, 80)] * 3))
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn * draw(st.tuples(*[st.sampled_from([0.25, 0.7, 1.0, 3.0])] * 3))
    affine[:3, 3] = np.array(draw(st.tuples(*[st.integers(-3000, 3000)] * 3))) / 10
    return affine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PoolDatastore]:
    (tmp_path / "studies").mkdir()
    opened = PoolDatastore(str(tmp_path / "studies"), LABELS)
    yield opened
    opened.close()


def round_trip(store: PoolDatastore, image: Path, folder: Path, extensions: tuple[str, ...]) -> None:
    """Predict for an image of the pool in each format, save the prediction as its label, and read that."""
    shape, affine = grid_of(image)
    label = drawn(shape)
    for extension in extensions:
        predicted = folder / f"prediction{extension}"
        write_label(predicted, label, affine, LABELS, {}, image)
        if extension != ".png":
            assert_same_geometry(predicted, image)
        np.testing.assert_array_equal(read_label(predicted, LABELS, image), label, err_msg=extension)
    save(store, image, predicted, label)
    copied = sitk.GetImageFromArray(label.T if label.ndim == 3 else label.T[None])
    copied.CopyInformation(padded(image))
    for extension in (".nii.gz", ".nrrd"):
        sitk.WriteImage(copied, str(folder / f"drawn{extension}"))
        np.testing.assert_array_equal(read_label(folder / f"drawn{extension}", LABELS, image), label)
    save(store, image, folder / "drawn.nrrd", label)
    nrrd.write(str(folder / "index.nrrd"), label)
    np.testing.assert_array_equal(read_label(folder / "index.nrrd", LABELS, image), label)


def save(store: PoolDatastore, image: Path, file: Path, label: np.ndarray) -> None:
    name = image.name.split(".")[0]
    store.save_label(name, str(file), "final", {})
    stored = store.get_label_uri(name, "final")
    np.testing.assert_array_equal(read_label(stored, LABELS, image), label, err_msg=file.name)


def place(store: PoolDatastore, file: Path) -> Path:
    """Put a file into the pool in the place of its last version."""
    name = file.name.split(".")[0]
    if store.has_image(name):
        store.remove_image(name)
    store.add_image(name, str(file), {})
    return Path(store.get_image_uri(name))


@EXAMPLES
@given(sform=affines(), qform=affines(), codes=st.tuples(st.integers(0, 4), st.integers(0, 4)))
@example(np.eye(4), np.eye(4), (0, 0))
@example(np.eye(4), np.diag([-1.0, -1, 1, 1]), (2, 1))
@example(np.eye(4), np.diag([-1.0, -1, 1, 1]), (4, 1))
def test_nifti_with_any_two_forms(
    tmp_path: Path, store: PoolDatastore, sform: np.ndarray, qform: np.ndarray, codes: tuple[int, int]
) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_sform(sform, codes[0])
    header.set_qform(qform, codes[1])
    nibabel.save(nibabel.Nifti1Image(grey(), None, header), tmp_path / "a.nii.gz")
    image = place(store, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(image)[0][0], grey())
    round_trip(store, image, tmp_path, (".nii.gz", ".nii", ".nrrd", ".seg.nrrd"))
    kept, its = (nibabel.nifti1.load(file).header for file in (tmp_path / "prediction.nii", image))
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(kept[field], its[field])
    former = nibabel.Nifti1Image(drawn(SIZE), nibabel.nifti1.load(image).affine)
    nibabel.save(former, tmp_path / "former.nii.gz")
    save(store, image, tmp_path / "former.nii.gz", drawn(SIZE))


@pytest.mark.parametrize(
    ("field", "value"),
    [("sform_code", 9), ("sform_code", -5), ("qform_code", 9), ("pixdim", -2.0), ("pixdim", 0.0)],
)
def test_nifti_with_odd_codes_and_sizes(
    tmp_path: Path, store: PoolDatastore, field: str, value: float
) -> None:
    """nibabel corrects them when it opens a file, ITK does not."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(SIZE)
    header.set_sform(shifted(7), 0)
    header.set_qform(np.diag([-1.0, -1, 1, 1]) + shifted(3) - np.eye(4), 1)
    header[field] = [1, value, 1, 1, 1, 1, 1, 1] if field == "pixdim" else value
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "a.nii").write_bytes(header.binaryblock + b"\0" * 4 + grey().tobytes(order="F"))
    round_trip(store, place(store, tmp_path / "a.nii"), tmp_path, (".nii.gz", ".nii", ".nrrd"))


@EXAMPLES
@given(affine=affines(), space=st.sampled_from(["lps", "ras", "las"]))
def test_nrrd_in_any_space(tmp_path: Path, store: PoolDatastore, affine: np.ndarray, space: str) -> None:
    turned = {"lps": lps(affine), "ras": affine, "las": np.diag([-1.0, 1, 1, 1]) @ affine}[space]
    names = {"lps": "left-posterior-superior", "ras": "right-anterior-superior", "las": "LAS"}
    header = {"space": names[space], "space directions": turned[:3, :3].T, "space origin": turned[:3, 3]}
    nrrd.write(str(tmp_path / "a.nrrd"), grey(), header=header)
    image = place(store, tmp_path / "a.nrrd")
    np.testing.assert_allclose(read_header(image).affine, affine, atol=1e-6)
    round_trip(store, image, tmp_path, (".nii.gz", ".nrrd"))


@EXAMPLES
@given(affine=affines(), spacing=st.sampled_from([0.2, 1.0, 2.5]))
def test_dicom_of_any_orientation(
    tmp_path: Path, store: PoolDatastore, affine: np.ndarray, spacing: float
) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (20, 24), dtype=np.uint8)
    file, axes = radiograph("a", pixels, "CT"), lps(affine)[:3, :3]
    file.ImageOrientationPatient = [
        *(axes[:, 0] / np.linalg.norm(axes[:, 0])),
        *(axes[:, 1] / np.linalg.norm(axes[:, 1])),
    ]
    file.ImageOrientationPatient = [round(v, 10) for v in file.ImageOrientationPatient]
    file.ImagePositionPatient, file.PixelSpacing = lps(affine)[:3, 3].tolist(), [spacing, 0.5]
    file.save_as(tmp_path / "a.dcm", write_like_original=False)
    image = place(store, tmp_path / "a.dcm")
    assert read_image(image)[0].shape == (24, 20)
    round_trip(store, image, tmp_path, (".nii.gz", ".nrrd", ".png"))


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        ("a.png", (1, 1)),
        ("scaled.png", (0.2, 0.3)),
        ("a.jpg", (25.4 / 300,) * 2),
        ("plain.jpg", (1, 1)),
        ("a.tif", (25.4 / 72,) * 2),
        ("turned.tif", (1, 1)),
        ("a.bmp", None),
        ("flat.nii.gz", (0.5, 0.7)),
        ("flat.nrrd", (0.5, 0.7)),
    ],
)
def test_2d_images(
    tmp_path: Path, store: PoolDatastore, name: str, spacing: tuple[float, float] | None
) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (40, 50), dtype=np.uint8)
    file, plain = tmp_path / name, Image.fromarray(pixels)
    if name == "scaled.png":
        made = sitk.GetImageFromArray(pixels)
        made.SetSpacing((0.2, 0.3))
        sitk.WriteImage(made, str(file))
    elif name.startswith("flat"):
        affine = np.array([[-0.5, 0, 0, 7], [0, -0.7, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1.0]])
        header = {"space dimension": 2, "space directions": np.diag([0.5, 0.7]), "space origin": [3, 4]}
        if name.endswith("nrrd"):
            nrrd.write(str(file), pixels.T, header=header)
        else:
            nibabel.save(nibabel.Nifti1Image(pixels.T, affine), file)
    elif name == "turned.tif":
        plain.save(file, tiffinfo={274: 3})
    else:
        plain.save(file, **({"dpi": (300, 300) if "jpg" in name else (72, 72)} if name[0] == "a" else {}))
    if name == "a.bmp":  # not a format of the pool, but read where a file is given
        assert_same_geometry_of_bmp(file)
        return
    image = place(store, file)
    if spacing:
        np.testing.assert_allclose(padded(image).GetSpacing(), (*spacing, 1), rtol=1e-6)
    round_trip(store, image, tmp_path, (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".png"))
    former = drawn(grid_of(image)[0])
    write_label(tmp_path / "former.nrrd", former, np.eye(4), LABELS, {})
    if not name.startswith("flat"):
        save(store, image, tmp_path / "former.nrrd", former)


@EXAMPLES
@given(
    kind=st.sampled_from(["itk.png", "png", "jpg", "tif", "itk.tif", "nii.gz", "nrrd"]),
    size=st.tuples(st.integers(16, 60), st.integers(16, 60)),
    dots=st.tuples(st.integers(20, 1200), st.integers(20, 1200)),
    turn=st.sampled_from([1, 2, 3, 4]),
    affine=affines(),
)
def test_2d_images_of_any_geometry(
    tmp_path: Path,
    store: PoolDatastore,
    kind: str,
    size: tuple[int, int],
    dots: tuple[int, int],
    turn: int,
    affine: np.ndarray,
) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, size, dtype=np.uint8)
    file = tmp_path / f"a.{kind.removeprefix('itk.')}"
    if kind.startswith("itk"):
        made = sitk.GetImageFromArray(pixels)
        made.SetSpacing([25.4 / dot for dot in dots])
        sitk.WriteImage(made, str(file))
    elif kind == "tif":
        Image.fromarray(pixels).save(file, dpi=dots, tiffinfo={274: turn})
    elif kind == "nii.gz":  # one oblique slice
        nibabel.save(nibabel.Nifti1Image(pixels.T[..., None], affine), file)
    elif kind == "nrrd":
        directions, origin = lps(affine)[:3, :3].T, lps(affine)[:3, 3]
        header = {
            "space": "left-posterior-superior",
            "space directions": directions,
            "space origin": origin,
        }
        nrrd.write(str(file), pixels.T[..., None], header=header)
    else:
        Image.fromarray(pixels).save(file, dpi=dots)
    round_trip(store, place(store, file), tmp_path, (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".png"))


def assert_same_geometry_of_bmp(file: Path) -> None:
    np.testing.assert_allclose(
        np.diag(read_header(file).affine)[:2], -np.array(sitk.ReadImage(str(file)).GetSpacing())
    )


def boxed() -> np.ndarray:
    label = np.zeros((20, 20, 20), np.uint8)
    label[2:18, 5:15, 5:15] = 1
    return label


def volume(folder: Path, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(grey((20, 20, 20)), affine), folder / "image.nii.gz")
    return folder / "image.nii.gz"


def shifted(x: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = x
    return affine


@pytest.mark.parametrize(
    ("x", "outside", "far"), [(-5, 300, "3 mm"), (-4.4, 200, "2.4 mm"), (-300, 1600, "298 mm")]
)
def test_a_label_that_would_lose_voxels_is_refused(tmp_path: Path, x: float, outside: int, far: str) -> None:
    """The image spans -5 to 14 mm, the label 2 to 17."""
    image = volume(tmp_path, shifted(x))
    nibabel.save(nibabel.Nifti1Image(boxed(), np.eye(4)), tmp_path / "label.nii.gz")
    with pytest.raises(LabelError, match=f"{outside} of 1600 voxels .* outside its image, by up to {far}"):
        read_label(tmp_path / "label.nii.gz", LABELS, image)


def test_a_label_cropped_beyond_its_image_loses_nothing_when_its_structures_are_inside(
    tmp_path: Path,
) -> None:
    image = volume(tmp_path, shifted(1))
    nibabel.save(nibabel.Nifti1Image(boxed(), np.eye(4)), tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "label.nii.gz", LABELS, image)[1:17], boxed()[2:18])


def test_a_structure_that_falls_between_the_images_slices_is_refused(tmp_path: Path) -> None:
    image, fine = volume(tmp_path, np.eye(4)), np.zeros((60, 20, 20), np.uint8)
    fine[9:15], fine[30] = 1, 2  # the image's voxels are 1, 4, 7, ... of these
    affine = np.diag([1 / 3, 1, 1, 1])
    affine[0, 3] = -1 / 3
    nibabel.save(nibabel.Nifti1Image(fine, affine), tmp_path / "label.nii.gz")
    with pytest.raises(LabelError, match=r"values \[2\] vanish"):
        read_label(tmp_path / "label.nii.gz", LABELS, image)
    fine[31] = 2
    nibabel.save(nibabel.Nifti1Image(fine, affine), tmp_path / "label.nii.gz")
    assert set(np.unique(read_label(tmp_path / "label.nii.gz", LABELS, image))) == {0, 1, 2}


@pytest.mark.parametrize("kind", ["plain.nrrd", "spacings.nrrd", "no codes.nii.gz"])
def test_a_label_without_geometry_is_taken_by_index(tmp_path: Path, kind: str) -> None:
    image = volume(tmp_path, shifted(-5))
    path = tmp_path / f"label{kind[kind.index('.') :]}"
    if kind.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(boxed(), None), path)
    else:
        nrrd.write(str(path), boxed(), header={"spacings": [1, 1, 1]} if "spacings" in kind else {})
    np.testing.assert_array_equal(read_label(path, LABELS, image), boxed())


@pytest.mark.parametrize("turn", range(8))
def test_a_pictures_label_along_other_axes_is_turned_back(tmp_path: Path, turn: int) -> None:
    """`as_closest_canonical` and other programs list the same pixels in another order."""
    Image.fromarray(np.random.default_rng(1).integers(0, 200, (40, 50), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    shape, affine = grid_of(tmp_path / "a.png")
    label = nibabel.Nifti1Image(drawn(shape)[..., None], affine)
    flips = [(i, 1 - 2 * (turn >> i & 1)) for i in range(2)]
    flips = flips if turn < 4 else flips[::-1]
    turned = label.as_reoriented(np.array([*flips, (2, 1)]))
    nibabel.save(turned, tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(
        read_label(tmp_path / "label.nii.gz", LABELS, tmp_path / "a.png"), drawn(shape)
    )


def test_spacing_in_micrometres_is_that_of_itk(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(grey(), np.diag([500.0, 500, 2000, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii.gz")
    grid = volume_grid(tmp_path / "a.nii.gz")
    assert grid is not None
    np.testing.assert_allclose(
        np.abs(np.diag(grid[1]))[:3], sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetSpacing()
    )
    write_label(tmp_path / "b.nii.gz", drawn(SIZE), grid[1], LABELS, {}, tmp_path / "a.nii.gz")
    assert_same_geometry(tmp_path / "b.nii.gz", tmp_path / "a.nii.gz")
