"""A fallible annotator: the same labels for all methods, wrong by the given width."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from benchmarks.experiments.noise import drawn_wrongly, write_wrong_label, wrong_label


def test_the_share_of_wrong_labels_is_that_asked_for_and_fixed_by_image_and_seed() -> None:
    drawn = [drawn_wrongly(f"image{n}", 0.3, 43) for n in range(1000)]
    assert drawn == [drawn_wrongly(f"image{n}", 0.3, 43) for n in range(1000)]
    wrong = [kind for kind in drawn if kind is not None]
    assert 250 < len(wrong) < 350 and 0.4 < np.mean(wrong) < 0.6
    assert [drawn_wrongly(f"image{n}", 0.0, 43) for n in range(20)] == [None] * 20
    more = [drawn_wrongly(f"image{n}", 0.6, 43) for n in range(1000)]
    assert all(b is not None for a, b in zip(drawn, more, strict=True) if a is not None)


def test_structures_grow_into_the_background_or_shrink_and_none_vanishes() -> None:
    label = np.zeros((30, 30), np.uint8)
    label[5:15, 5:15], label[20:22, 20:22] = 1, 2
    large, small = wrong_label(label, True, 2), wrong_label(label, False, 2)
    assert (large[5:15, 5:15] == 1).all() and large[3, 8] == 1 and large[2, 8] == 0
    assert small[7, 7] == 1 and small[6, 7] == 0 and (small == 1).sum() == 36
    assert np.array_equal(small == 2, label == 2), "too small to shrink"


def test_pictures_and_volumes_are_written_on_their_own_grid(tmp_path: Path) -> None:
    picture = np.zeros((64, 48), np.uint8)
    picture[20:40, 10:30] = 1
    for name in ("image.png", "label.png"):
        Image.fromarray(picture).save(tmp_path / name)
    write_wrong_label(tmp_path / "out.png", tmp_path / "image.png", tmp_path / "label.png", {"lung": 1}, True)
    grown = np.asarray(Image.open(tmp_path / "out.png"))
    assert grown.shape == picture.shape and grown[18:42, 8:32].sum() > picture.sum()
    volume = np.zeros((10, 12, 14), np.uint8)
    volume[3:7, 3:8, 4:9] = 1
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    for name in ("image.nii.gz", "label.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / name)
    paths = (tmp_path / name for name in ("out.nii.gz", "image.nii.gz", "label.nii.gz"))
    write_wrong_label(*paths, {"lung": 1}, True)
    written = nibabel.load(tmp_path / "out.nii.gz")
    assert np.allclose(written.affine, affine) and np.asarray(written.dataobj)[1, 5, 6] == 1  # 2 voxels
