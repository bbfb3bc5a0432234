"""From image to stored label: what is predicted for a voxel is stored for that voxel, in any geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import Compose
from PIL import Image

from bundle_configs import Bundle
from infers.segmentation.writing import Restored, WriteLabeld
from pool.datastore.store import PoolDatastore
from pool.imaging.geometry import lps
from pool.imaging.labels import read_label
from tests.pool.imaging.test_geometry import (
    EXAMPLES,
    LABELS,
    affines,
    assert_same_geometry,
    drawn,
    place,
)

SIZE = (9, 8, 7)


@pytest.fixture
def store(opened: Callable[[dict[str, int]], PoolDatastore]) -> PoolDatastore:
    return opened(LABELS)


def predict(image: Path, bundle: Bundle, folder: Path, extension: str) -> Path:
    """Predict as the app does, by a network that sees each of the three grey levels as one class."""
    seen: Any = Compose(bundle.new("image_transforms"))({"image": str(image)})["image"]
    _, classes = np.unique(np.round(seen.numpy()[0], 3), return_inverse=True)
    classes = torch.from_numpy(classes.reshape(seen.shape[1:]))
    logits = torch.nn.functional.one_hot(classes, 3).movedim(-1, 0) * 20.0
    write = [Restored("pred"), WriteLabeld("pred", str(folder), extension, LABELS, {})]
    Compose(write)({"image": seen, "pred": logits})
    return folder / f"{image.name.split('.')[0]}{extension}"


def assert_stored_where_it_was_seen(
    store: PoolDatastore, image: Path, bundle: Bundle, folder: Path, extensions: tuple[str, ...]
) -> None:
    for extension in extensions:
        predicted = predict(image, bundle, folder / "predictions", extension)
        if extension != ".png":
            assert_same_geometry(predicted, image)
        store.save_label("a", str(predicted), "final", {})
        stored = read_label(store.get_label_uri("a", "final"), LABELS, image)
        np.testing.assert_array_equal(stored, drawn(stored.shape), err_msg=extension)


@EXAMPLES
@given(
    sform=affines(),
    qform=affines(),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    extension=st.sampled_from([".nii.gz", ".nii", ".nrrd"]),
)
def test_volumes_of_any_geometry(
    tmp_path: Path,
    store: PoolDatastore,
    sform: np.ndarray,
    qform: np.ndarray,
    codes: tuple[int, int],
    extension: str,
) -> None:
    voxels = drawn(SIZE).astype(np.int16) * 100
    if extension == ".nrrd":
        axes = {"space directions": lps(sform)[:3, :3].T, "space origin": lps(sform)[:3, 3]}
        nrrd.write(str(tmp_path / "a.nrrd"), voxels, header={"space": "left-posterior-superior", **axes})
    else:
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.int16)
        header.set_sform(sform, codes[0])
        header.set_qform(qform, codes[1])
        nibabel.save(nibabel.Nifti1Image(voxels, None, header), tmp_path / f"a{extension}")
    image = place(store, tmp_path / f"a{extension}")
    bundle = Bundle("volumes", {"labels": LABELS})
    assert_stored_where_it_was_seen(store, image, bundle, tmp_path, (".nii.gz", ".nrrd", ".seg.nrrd"))


@pytest.mark.parametrize("kind", ["png", "tif", "jpg"])
def test_pictures(tmp_path: Path, store: PoolDatastore, kind: str) -> None:
    size = (48, 48)  # that of the network, so that nothing is resampled
    rows = drawn((6, 6)).repeat(8, axis=0).repeat(8, axis=1).T * np.uint8(100)  # blocks of a JPEG
    Image.fromarray(rows).save(
        tmp_path / f"a.{kind}", dpi=(300, 72), **({"quality": 100} if kind == "jpg" else {})
    )
    image, bundle = place(store, tmp_path / f"a.{kind}"), Bundle("cxr_lungs", {"image_size": size[0]})
    for extension in (".nii.gz", ".nrrd", ".seg.nrrd", ".png"):
        predicted = predict(image, bundle, tmp_path / "predictions", extension)
        if extension != ".png":
            assert_same_geometry(predicted, image)
        store.save_label("a", str(predicted), "final", {})
        stored = read_label(store.get_label_uri("a", "final"), LABELS, image)
        np.testing.assert_array_equal(stored, rows.T // 100, err_msg=extension)
