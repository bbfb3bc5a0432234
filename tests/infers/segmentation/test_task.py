"""Prediction: on the image's own grid, in the requested format, with errors that say what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import torch
from monai.transforms import Resize
from PIL import Image

from bundle_configs import Bundle
from infers.segmentation.task import Predictor, SegmentationInfer, model_details, model_fingerprint
from pool.errors import PoolError
from pool.imaging.images import read_image
from pool.imaging.labels import read_label

BUNDLE = Bundle("cxr_lungs", {"image_size": 32, "channels": [4, 8]})
LABELS = {"right lung": 1, "left lung": 2}
AFFINE = np.array([[-0.5, 0, 0, 7], [0, -0.25, 0, 8], [0, 0, 2, 9], [0, 0, 0, 1.0]])
WIDTH, HEIGHT = 45, 38


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a network with random weights, as the trainer does."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("state") / "model.pt"
    details = {"images": ["a", "b"], "seed": 3, "bundle": BUNDLE.name, "overrides": BUNDLE.values}
    torch.save({"model": BUNDLE.new("network_def").state_dict(), "details": details}, path)
    return path


@pytest.fixture(autouse=True)
def written_into_the_tests_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def make_image(path: Path) -> Path:
    """Write a smooth image (W, H) in the format of the file name."""
    x, y = np.mgrid[:WIDTH, :HEIGHT]
    pixels = (120 + 80 * np.sin(x / 7) * np.cos(y / 5) + x).astype(np.uint8)
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(pixels[..., None], AFFINE), path)
    elif path.suffix == ".nrrd":
        lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
        space = {
            "space": "left-posterior-superior",
            "space directions": lps[:3, :3],
            "space origin": lps[:3, 3],
        }
        nrrd.write(str(path), pixels[..., None], header=space)
    else:
        Image.fromarray(pixels.T.copy()).save(path)
    return path


def infer(model: Path, image: Path, **more: Any) -> Path:
    """Run the task; return the written label."""
    request = {"model": "segmentation", "image": str(image), "device": "cpu", **more}
    file, _ = SegmentationInfer(model, BUNDLE)(request)
    return Path(file)


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.png", ".png"), ("a.jpg", ".png"), ("a.JPEG", ".png"), ("a.nii.gz", ".nii.gz"), ("a.nrrd", ".nrrd")],
)
def test_prediction_has_the_images_own_grid_and_format(
    model: Path, tmp_path: Path, name: str, written: str
) -> None:
    image = make_image(tmp_path / name)
    label = infer(model, image)
    assert label.name.endswith(written)
    plane, own = read_image(image)
    assert read_label(label, LABELS, image).shape == plane.shape == (WIDTH, HEIGHT)
    if written != ".png":
        np.testing.assert_allclose(own, AFFINE)
        values, affine = read_image(label)
        assert values.shape == (WIDTH, HEIGHT)
        np.testing.assert_allclose(affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz"])
def test_prediction_is_the_most_probable_class_at_the_images_size(
    model: Path, tmp_path: Path, name: str
) -> None:
    image = make_image(tmp_path / name)
    probabilities = Predictor(model)(str(image))
    assert probabilities.shape == (3, 32, 32)
    np.testing.assert_allclose(probabilities.sum(dim=0).numpy(), 1, atol=1e-5)
    expected = np.asarray(Resize((WIDTH, HEIGHT), mode="bilinear")(probabilities)).argmax(axis=0)
    found = read_label(infer(model, image), LABELS, image)
    assert len(np.unique(found)) > 1, "a label of one value would agree with a transposed one too"
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("asked", [".nrrd", "nrrd", ".seg.nrrd", ".nii.gz", ".nii", ".png"])
def test_result_extension_is_followed(model: Path, tmp_path: Path, asked: str) -> None:
    image = make_image(tmp_path / "a.png")
    label = infer(model, image, result_extension=asked)
    assert label.name.endswith(asked)
    np.testing.assert_array_equal(
        read_label(label, LABELS, image), read_label(infer(model, image), LABELS, image)
    )


def test_unknown_result_extension_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"\.bmp.*ask for one of") as caught:
        infer(model, make_image(tmp_path / "a.png"), result_extension=".bmp")
    assert caught.value.status == 422


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_image_that_cannot_be_read_is_refused_by_name(model: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(PoolError, match=r"bad\.png") as caught:
        infer(model, tmp_path / "bad.png")
    assert caught.value.status == 422
    with pytest.raises(ValueError, match=r"bad\.png"):
        Predictor(model)(str(tmp_path / "bad.png"))


def test_without_a_model_nothing_is_predicted(tmp_path: Path) -> None:
    task = SegmentationInfer(tmp_path / "none.pt", BUNDLE)
    assert not task.is_valid() and model_fingerprint(tmp_path / "none.pt") is None
    with pytest.raises(PoolError, match="no trained model yet") as caught:
        task({"image": str(make_image(tmp_path / "a.png")), "device": "cpu"})
    assert caught.value.status == 409


def test_newly_published_model_is_used_at_once(model: Path, tmp_path: Path) -> None:
    path, image = tmp_path / "model.pt", make_image(tmp_path / "a.png")
    task = SegmentationInfer(path, BUNDLE)
    checkpoint = torch.load(model, weights_only=True)
    marks, seen = [], []
    for only in (1, 2):  # a network that sees one class everywhere
        bias = [k for k in checkpoint["model"] if k.endswith("bias")][-1]
        changed = {k: v * 0 for k, v in checkpoint["model"].items()}
        changed[bias] = torch.eye(3)[only]
        torch.save({"model": changed, "details": {**checkpoint["details"], "images": [str(only)]}}, path)
        marks.append(model_fingerprint(path))
        file, _ = task({"image": str(image), "device": "cpu"})
        seen.append(set(np.unique(read_label(file, LABELS, image)).tolist()))
    assert seen == [{1}, {2}] and marks[0] != marks[1]
    assert model_details(path)["images"] == ["2"]


def test_a_model_keeps_the_settings_it_was_trained_with(model: Path, tmp_path: Path) -> None:
    """A server restarted with other widths and another size still predicts with the published model."""
    image = make_image(tmp_path / "a.png")
    other = Bundle("cxr_lungs", {"image_size": 64, "channels": [8, 16, 32]})
    read = [
        read_label(SegmentationInfer(model, b)({"image": str(image), "device": "cpu"})[0], LABELS, image)
        for b in (BUNDLE, other)
    ]
    assert (read[0] == read[1]).all()
