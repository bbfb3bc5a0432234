"""Dice and HD95 against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from infers.metrics import SIZE, at_size, score_image, summarise

EMPTY = np.zeros((SIZE, SIZE), np.uint8)
DIAGONAL = 256 * 2**0.5


def box(top: int, left: int, height: int, width: int, value: int = 1) -> np.ndarray:
    label = EMPTY.copy()
    label[top : top + height, left : left + width] = value
    return label


def test_equal_labels() -> None:
    label = box(10, 10, 50, 40) + box(100, 100, 30, 20, 2)
    assert score_image(label, label, [1, 2]) == {
        "dice": [1.0, 1.0],
        "hd95": [0.0, 0.0],
        "one_empty": [0, 0],
        "present": [1.0, 1.0],
    }


def test_shifted_square() -> None:
    """A 4 x 4 square moved by 2: 8 of 16 pixels overlap; the outermost columns are 2 pixels apart."""
    scores = score_image(box(50, 50, 4, 4), box(50, 52, 4, 4), [1])
    assert scores["dice"] == [pytest.approx(2 * 8 / 32)] and scores["hd95"] == [2.0]


def test_hd95_leaves_the_farthest_twentieth_out() -> None:
    """A line of 101 pixels against 90 of it: distances 0 (90 times), 1 ... 11; the 95th percentile is 6."""
    scores = score_image(box(50, 50, 1, 101), box(50, 50, 1, 90), [1])
    assert scores["hd95"] == [pytest.approx(6)]
    assert scores["dice"] == [pytest.approx(2 * 90 / 191)]


def test_hd95_is_the_same_both_ways() -> None:
    one, two = box(50, 50, 1, 101), box(50, 50, 1, 90)
    assert score_image(one, two, [1]) == score_image(two, one, [1])


def test_classes_do_not_mix() -> None:
    right, left = box(10, 10, 4, 4, 1), box(100, 100, 4, 4, 2)
    assert score_image(right + left, right + box(100, 103, 4, 4, 2), [1, 2]) == {
        "dice": [1.0, pytest.approx(0.25)],
        "hd95": [0.0, 3.0],
        "one_empty": [0, 0],
        "present": [1.0, 1.0],
    }


@pytest.mark.parametrize(
    ("prediction", "reference", "dice", "hd95"),
    [
        (EMPTY, EMPTY, 1.0, 0.0),
        (box(3, 3, 9, 9), EMPTY, 0.0, DIAGONAL),
        (EMPTY, box(3, 3, 9, 9), 0.0, DIAGONAL),
    ],
    ids=["both empty", "reference empty", "prediction empty"],
)
def test_empty_labels(prediction: np.ndarray, reference: np.ndarray, dice: float, hd95: float) -> None:
    scores = score_image(prediction, reference, [1])
    assert scores["dice"] == [dice] and scores["hd95"] == [pytest.approx(hd95)]
    assert scores["present"] == [float(reference.any())]


def test_labels_are_resized_without_new_values() -> None:
    label = np.zeros((512, 128), np.uint8)
    label[:256, :64] = 2
    found = at_size(label)
    assert found.shape == (SIZE, SIZE)
    np.testing.assert_array_equal(found, box(0, 0, 128, 128, 2))


def test_summary_means_over_images_and_classes() -> None:
    images = {
        "a": {"dice": [1.0, 0.8], "hd95": [0.0, 4.0], "one_empty": [0, 0]},
        "b": {"dice": [0.4, 0.2], "hd95": [10.0, 6.0], "one_empty": [0, 1]},
    }
    found = summarise(images, ["right", "left"])
    assert found["dice"] == pytest.approx(0.6) and found["hd95"] == pytest.approx(5)
    assert found["dice_std"] == pytest.approx(0.3) and found["hd95_std"] == pytest.approx(3)
    assert found["dice_per_class"] == pytest.approx({"right": 0.7, "left": 0.5})
    assert found["hd95_per_class"] == pytest.approx({"right": 5, "left": 5})
    assert found["failures"] == 1 and found["one_empty"] == 1


def cube(start: tuple[int, int, int], side: int = 4) -> np.ndarray:
    label = np.zeros((20, 30, 10), np.uint8)
    label[tuple(slice(s, s + side) for s in start)] = 1
    return label


def test_distances_in_volumes_are_in_millimetres() -> None:
    """A cube moved by one voxel along each axis in turn: half a millimetre, one, three."""
    for axis, millimetres in enumerate((0.5, 1.0, 3.0)):
        moved = tuple(4 + int(i == axis) for i in range(3))
        scores = score_image(cube((4, 4, 4)), cube(moved), [1], (0.5, 1.0, 3.0))  # type: ignore[arg-type]
        assert scores["hd95"] == [pytest.approx(millimetres)] and scores["dice"] == [pytest.approx(0.75)]


def test_empty_volume_is_as_far_away_as_its_diagonal() -> None:
    scores = score_image(cube((4, 4, 4)), np.zeros((20, 30, 10), np.uint8), [1], (0.5, 1.0, 3.0))
    assert scores["hd95"] == [pytest.approx((10**2 + 30**2 + 30**2) ** 0.5)]
    assert scores["dice"] == [0] and scores["one_empty"] == [1]


def test_image_dice_counts_the_classes_that_a_reference_has() -> None:
    """By hand: a has both classes, (1 + 0.5) / 2; b only the first, 0.2; c none and is left out."""
    images = {
        "a": {"dice": [1.0, 0.5], "hd95": [0.0, 4.0], "one_empty": [0, 0], "present": [1.0, 1.0]},
        "b": {"dice": [0.2, 1.0], "hd95": [9.0, 0.0], "one_empty": [0, 0], "present": [1.0, 0.0]},
        "c": {"dice": [0.0, 1.0], "hd95": [DIAGONAL, 0.0], "one_empty": [1, 0], "present": [0.0, 0.0]},
    }
    found = summarise(images, ["cortex", "caudate"], "image_dice")
    assert found["dice"] == pytest.approx((0.75 + 0.2) / 2) and found["failures"] == 1
    assert found["dice_per_class"] == pytest.approx({"cortex": 0.6, "caudate": 0.5})
    assert summarise(images, ["cortex", "caudate"])["dice"] == pytest.approx(3.7 / 6)
    only_b = summarise({"b": images["b"]}, ["cortex", "caudate"], "image_dice")
    assert only_b["dice_per_class"] == {"cortex": pytest.approx(0.2), "caudate": None}


def test_metric_that_cannot_be_meant_is_refused() -> None:
    empty = {"a": {"dice": [1.0], "hd95": [0.0], "present": [0.0]}}
    with pytest.raises(ValueError, match="choose one of class_dice, image_dice"):
        summarise(empty, ["cortex"], "dice")
    with pytest.raises(ValueError, match="no reference has any class"):
        summarise(empty, ["cortex"], "image_dice")
