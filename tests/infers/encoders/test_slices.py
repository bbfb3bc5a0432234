"""Volumes for 2-D encoders: choice of slices and pooling of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bundle_configs import Bundle
from infers.encoders.descriptor import Descriptor
from infers.encoders.pool_encoder import make_pool_encoder, pool_encoder_key
from infers.encoders.slices import MAX_SLICES, axial_slices, embed_slices
from pool.imaging.images import ImageError

RAS = np.diag([1.0, 1.0, 3.0, 1.0])


class Means:
    """An encoder with a single feature, the mean grey value."""

    key = name = "means"
    dim = 1

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[image.mean()] for image in images], dtype=np.float32)


def body(slices: int = 12) -> np.ndarray:
    """Write a volume with a block of growing brightness in the middle third of the slices, and dark air."""
    volume = np.random.default_rng(0).normal(0, 5, (20, 16, slices))
    third = slices // 3
    for z in range(third, 2 * third):
        volume[5:15, 4:12, z] = 500 + 30 * z
    return volume.astype(np.float32)


def save(path: Path, volume: np.ndarray, affine: np.ndarray = RAS) -> Path:
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)
    return path


def test_slices_without_content_are_left_out(tmp_path: Path) -> None:
    slices = axial_slices(save(tmp_path / "a.nii.gz", body()), "mr")
    assert slices.shape == (4, 224, 224) and slices.dtype == np.float32
    assert slices.min() >= 0 and slices.max() <= 1
    means = slices[:, 100:120, 100:120].mean(axis=(1, 2))
    assert (np.diff(means) > 0).all(), "feet to head"


def test_long_volume_gives_evenly_spaced_slices(tmp_path: Path) -> None:
    slices = axial_slices(save(tmp_path / "a.nii.gz", body(150)), "mr")
    assert len(slices) == MAX_SLICES
    means = slices[:, 100:120, 100:120].mean(axis=(1, 2))
    assert (np.diff(means[1:-1]) > 0).all()
    assert means[-2] - means[1] > 0.8 * (means[-1] - means[0]), "they reach from end to end"


def test_axial_is_told_by_the_affine(tmp_path: Path) -> None:
    one = axial_slices(save(tmp_path / "a.nii.gz", body()), "mr")
    turned = np.ascontiguousarray(body().transpose(2, 0, 1)[::-1, :, ::-1])  # superior-inferior first
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -3, 1, -1, 1
    two = axial_slices(save(tmp_path / "b.nii.gz", turned, affine), "mr")
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_up_is_anterior_and_left_the_patients_right(tmp_path: Path) -> None:
    volume = np.zeros((20, 16, 6), np.float32)
    volume[14:18, 2:5] = 100  # far right, since x grows to the patient's right, and posterior
    picture = axial_slices(save(tmp_path / "a.nii.gz", volume), "mr")[0]
    rows, columns = np.nonzero(picture > 0.5)
    assert rows.mean() > 150, "posterior is below"
    assert columns.mean() < 70, "the patient's right is on the left"


def test_channels_are_averaged_and_faint_volumes_have_a_slice(tmp_path: Path) -> None:
    point = np.zeros((20, 16, 6), np.float32)
    point[3, 4, 2] = 9
    assert len(axial_slices(save(tmp_path / "a.nii.gz", point), "mr")) == 1
    both = np.stack([body(), np.zeros_like(body())], axis=-1)
    one, two = (
        axial_slices(save(tmp_path / f"{n}.nii.gz", v), "mr") for n, v in (("b", body()), ("c", both))
    )
    np.testing.assert_allclose(two, one / 2, atol=1e-6)


def test_features_of_a_volume_are_the_mean_of_its_slices() -> None:
    volumes = [np.stack([np.full((8, 8), v, np.float32) for v in values]) for values in ((0.2, 0.4), (0.6,))]
    np.testing.assert_allclose(embed_slices(Means(), volumes), [[0.3], [0.6]], atol=1e-6)
    assert embed_slices(Means(), []).shape == (0, 1)


def test_pool_encoder_fits_the_bundle(tmp_path: Path) -> None:
    path = str(save(tmp_path / "a.nii.gz", body()))
    mr, ct = (Bundle("volumes", {"modality_rule": rule}) for rule in ("mr", "ct"))
    encoder = make_pool_encoder("descriptor", None, mr)
    assert encoder.embed([encoder.read(path)]).shape == (1, Descriptor().dim)
    assert encoder.key == pool_encoder_key("descriptor", None, mr) != pool_encoder_key("descriptor", None, ct)
    flat = make_pool_encoder("descriptor", None, Bundle("cxr_lungs"))
    assert flat.key == Descriptor.key
    with pytest.raises(ImageError, match="single 2-D"):
        flat.read(path)


def test_a_volume_with_other_channels_than_the_network_takes_is_refused(tmp_path: Path) -> None:
    """Otherwise it would be handed out and labelled, but never trained on."""
    path = str(save(tmp_path / "a.nii.gz", np.stack([body(), body()], axis=-1)))
    with pytest.raises(
        ImageError, match="has 2 channels, the app is set to 1; start it with --conf in_channels 2"
    ):
        make_pool_encoder("descriptor", None, Bundle("volumes")).read(path)
    two = make_pool_encoder("descriptor", None, Bundle("volumes", {"in_channels": 2}))
    assert two.embed([two.read(path)]).shape == (1, Descriptor().dim)
