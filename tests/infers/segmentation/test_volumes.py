"""Volumes: prediction and training on crops, on the image's own grid, for any spacing and size."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from bundle_configs import Bundle
from infers.segmentation.task import Predictor, SegmentationInfer
from infers.segmentation.volumes import blocks, restore
from pool.errors import PoolError
from pool.imaging.labels import read_label
from strategies.selectors import mean_entropy
from trainers.segmentation.task import SegmentationTrain

TINY = {"channels": [4, 8], "window": [16, 16, 8]}
LABELS = {"anterior": 1, "posterior": 2}
LPI = np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, 30], [0, 0, -3, 40], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def written_into_the_tests_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def write_pair(folder: Path, name: str, shape: tuple[int, ...], channels: int = 0, seed: int = 0) -> Path:
    """Write an anisotropic left-posterior-inferior volume with two bright boxes, and their label."""
    label = np.zeros(shape, np.uint8)
    w, h, d = shape
    label[w // 5 : w // 2, h // 4 : 3 * h // 4, d // 4 : 3 * d // 4] = 1
    label[w // 2 : 4 * w // 5, h // 4 : 3 * h // 4, d // 4 : 3 * d // 4] = 2
    voxels = label * 100.0 + np.random.default_rng(seed).normal(0, 15, shape)
    if channels:
        voxels = np.stack([voxels * (c + 1) for c in range(channels)], axis=-1)
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), LPI), folder / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, LPI), folder / f"{name}_label.nii.gz")
    return folder / f"{name}.nii.gz"


def publish(folder: Path, **overrides: Any) -> Path:
    """Publish a network with random weights, as the trainer does."""
    torch.manual_seed(3)
    bundle = Bundle("volumes", TINY | overrides)
    details = {"images": ["a"], "seed": 3, "bundle": "volumes", "overrides": bundle.values}
    torch.save({"model": bundle.new("network_def").state_dict(), "details": details}, folder / "model.pt")
    return folder / "model.pt"


def infer(model: Path, image: Path, **more: Any) -> Path:
    request = {"model": "segmentation", "image": str(image), "device": "cpu", **more}
    return Path(SegmentationInfer(model, Bundle("volumes"))(request)[0])


@pytest.mark.parametrize("shape", [(20, 18, 11), (9, 30, 5), (40, 33, 21)])
@pytest.mark.parametrize("spacing", [[], [1.0, 1.0, 2.0]])
def test_prediction_is_on_the_images_own_grid(
    tmp_path: Path, shape: tuple[int, ...], spacing: list[float]
) -> None:
    image = write_pair(tmp_path / "s", "a", shape)
    file = infer(publish(tmp_path, spacing=spacing), image)
    found = nibabel.nifti1.load(file)
    assert found.shape == shape and file.name.endswith(".nii.gz")
    np.testing.assert_allclose(found.affine, LPI, atol=1e-5)
    assert read_label(file, LABELS, image).shape == shape


def test_prediction_is_the_most_probable_class_turned_back(tmp_path: Path) -> None:
    image, model = write_pair(tmp_path / "s", "a", (20, 18, 11)), publish(tmp_path)
    probabilities = Predictor(model)(str(image))
    assert probabilities.shape == (3, 20, 18, 11)
    expected = probabilities.argmax(dim=0).numpy()[::-1, ::-1, ::-1]  # the network sees it as RAS
    found = read_label(infer(model, image), LABELS, image)
    assert len(np.unique(found)) > 1
    np.testing.assert_array_equal(found, expected)


def test_restoring_undoes_orientation_and_spacing(tmp_path: Path) -> None:
    image = write_pair(tmp_path / "s", "a", (30, 24, 12))
    transforms = Compose(Bundle("volumes", {"spacing": [1.0, 1.0, 1.5]}).new("image_transforms"))
    seen = transforms({"image": str(image)})["image"]
    assert isinstance(seen, MetaTensor) and seen.shape[1:] != (30, 24, 12)
    true = np.asarray(nibabel.nifti1.load(tmp_path / "s" / "a_label.nii.gz").dataobj)
    bundle = Bundle("volumes", {"spacing": [1.0, 1.0, 1.5]})
    pair = {"image": str(image), "label": str(tmp_path / "s" / "a_label.nii.gz")}
    label = Compose(bundle.new("label_transforms"))(pair)["label"].as_tensor()[0].long()
    logits = torch.nn.functional.one_hot(label, 3).movedim(-1, 0) * 20.0
    assert (restore(logits, seen) == true).mean() > 0.95


@pytest.mark.parametrize(("most", "count"), [(10**9, 1), (3000, 3), (1, 5)])
def test_blocks_are_every_voxel_once(most: int, count: int) -> None:
    volume = torch.arange(10 * 40 * 20).reshape(1, 10, 40, 20)
    cores = [volume[seen][core] for seen, core in blocks(volume.shape[1:], (8, 8, 8), most)]
    assert len(cores) == count
    torch.testing.assert_close(torch.cat(cores, dim=2), volume)
    assert [s[2] for s, _ in blocks((10, 40, 20), (8, 8, 8), 3000)][1] == slice(11, 34)


def test_entropy_of_blocks_is_near_that_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = str(write_pair(tmp_path / "s", "a", (20, 60, 11)))
    predict = Predictor(publish(tmp_path))
    pixels = predict.pixels(image)
    ((_, (whole,)),) = predict.blocks([pixels])
    torch.testing.assert_close(whole, predict(image))
    monkeypatch.setattr("infers.segmentation.task._MAX_PROBABILITIES", 3 * 20 * 16 * 11)
    parts = [part for which, (part,) in predict.blocks([pixels, pixels]) if which.start == 1]
    assert [part.shape[2] for part in parts] == [16, 16, 16, 12]
    entropy = np.average([mean_entropy(p.numpy()) for p in parts], weights=[p[0].numel() for p in parts])
    assert entropy == pytest.approx(mean_entropy(whole.numpy()), rel=0.01)


def test_wrong_requests_say_what_to_do(tmp_path: Path) -> None:
    model = publish(tmp_path)
    four = write_pair(tmp_path / "s", "four", (20, 18, 11), channels=4)
    for image, more, says in (
        (four, {}, "--conf in_channels 4"),
        (write_pair(tmp_path / "s", "one", (20, 18, 11)), {"result_extension": ".png"}, "ask for one of"),
    ):
        with pytest.raises(PoolError, match=says) as caught:
            infer(model, image, **more)
        assert caught.value.status == 422


class Pairs:
    """Minimal datastore for the trainer."""

    def __init__(self, images: list[Path]) -> None:
        self.images = images

    def datalist(self) -> list[dict[str, str]]:
        label = {image: str(image).replace(".nii.gz", "_label.nii.gz") for image in self.images}
        return [{"image": str(image), "label": label[image]} for image in self.images]


def train(folder: Path, images: list[Path], **overrides: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    task = SegmentationTrain(folder, Bundle("volumes", TINY | overrides), 42)
    task({"device": "cpu"}, Pairs(images))
    return torch.load(folder / "model.pt", weights_only=True)


def test_training_on_crops_is_reproducible_and_learns(tmp_path: Path) -> None:
    """Volumes of different sizes, one smaller than the window, with anisotropic voxels."""
    shapes = [(20, 18, 11), (12, 12, 6), (30, 24, 14)]
    images = [write_pair(tmp_path / "s", f"v{i}", shape, seed=i) for i, shape in enumerate(shapes)]
    one, two = (train(tmp_path / name, images, epochs=12, learning_rate=0.01) for name in "ab")
    assert all(torch.equal(value, two["model"][name]) for name, value in one["model"].items())
    image = write_pair(tmp_path / "s", "new", (26, 22, 12), seed=9)
    true = np.asarray(nibabel.nifti1.load(str(image).replace(".nii.gz", "_label.nii.gz")).dataobj)
    found = read_label(infer(tmp_path / "a" / "model.pt", image), LABELS, image)
    for value in (1, 2):
        mine, its = found == value, true == value
        assert 2 * (mine & its).sum() / (mine.sum() + its.sum()) > 0.7


def test_multi_channel_volumes_with_labels_of_their_own(tmp_path: Path) -> None:
    images = [write_pair(tmp_path / "s", f"v{i}", (20, 18, 11), channels=4, seed=i) for i in range(2)]
    labels = {"oedema": 1, "tumour": 2}
    trained = train(tmp_path / "m", images, in_channels=4, labels=labels, spacing=[1.0, 1.0, 3.0], epochs=1)
    assert trained["details"]["labels"] == labels
    assert read_label(infer(tmp_path / "m" / "model.pt", images[0]), labels, images[0]).shape == (20, 18, 11)
