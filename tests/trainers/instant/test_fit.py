"""Fitting of the instant head, with good and bad labels."""

import dataclasses

import numpy as np
import pytest

from infers.instant.features import CHANNELS, Features
from infers.instant.grids import label_grid
from infers.instant.head import Head
from infers.instant.judging import judge
from trainers.instant.fit import fit
from trainers.instant.labelled import Labelled
from trainers.instant.quality import _folds

CLASSES = [1, 2]
SIDE = 64


def case(seed: int, shows: tuple[int, ...] = (1, 2), wrong: bool = False, group: str = "") -> Labelled:
    """Return an image where structure k is a square that is bright in channel k, with its label."""
    rng = np.random.default_rng(seed)
    grids = rng.normal(0, 0.3, (1, SIDE, SIDE, CHANNELS)).astype(np.float16)
    label = np.zeros((1, SIDE, SIDE), np.uint8)
    for k in shows:
        top, left = rng.integers(4, 30), rng.integers(4, 20) + (24 if k == 2 else 0)
        grids[0, top : top + 20, left : left + 16, k] += 2
        label[0, top : top + 20, left : left + 16] = k
    if wrong:
        label = np.roll(label, 25, axis=(1, 2))
    return Labelled(Features(grids, np.empty(0, np.float32)), label_grid(label, CLASSES), group)


def dice(head: Head, item: Labelled, k: int) -> float:
    found = head.predict(item.features).argmax(axis=-1) == k
    true = item.shares.argmax(axis=-1) == k
    return 2 * float((found & true).sum()) / float(found.sum() + true.sum())


def is_finite(head: Head) -> bool:
    features = case(99).features
    judged = judge(head, features)
    numbers = [*judged.shows.values(), judged.anything, judged.entropy, judged.foreground_entropy]
    numbers += [value for value in head.quality.values() if value is not None]
    return bool(np.isfinite(head.predict(features)).all() and np.isfinite(numbers).all())


def test_one_label_is_enough_and_more_are_validated() -> None:
    one = fit([case(0)], "key", CLASSES)
    assert dice(one, case(50), 1) > 0.8 and dice(one, case(50), 2) > 0.8
    assert one.quality == {1: None, 2: None} and one.dice is None
    four = fit([case(i) for i in range(4)], "key", CLASSES)
    assert dice(four, case(50), 1) > 0.9
    assert four.dice is not None and four.dice > 0.85
    assert four.shown == {1: 4, 2: 4} and four.labels == 4 and four.features_key == "key"
    assert len(four.to_bytes()) < 100_000


def test_the_same_input_and_seed_give_the_same_head() -> None:
    labelled = [case(0), case(1)]
    one, other = (fit(labelled, "key", CLASSES, seed=3).to_bytes() for _ in range(2))
    assert one == other
    assert fit(labelled, "key", CLASSES, seed=4, validate=False).to_bytes() != one


def test_an_empty_label_first() -> None:
    head = fit([case(0, shows=())], "key", CLASSES)
    assert head.shown == {1: 0, 2: 0} and is_finite(head)
    assert (head.predict(case(1).features).argmax(axis=-1) == 0).all()
    assert judge(head, case(1).features).anything == 0


def test_a_structure_that_no_label_shows_is_never_predicted() -> None:
    head = fit([case(i, shows=(1,)) for i in range(3)], "key", CLASSES)
    assert head.shown == {1: 3, 2: 0} and head.quality[2] is None and is_finite(head)
    assert head.predict(case(50).features)[..., 2].max() == 0
    assert dice(head, case(50, shows=(1,)), 1) > 0.9
    assert judge(head, case(50).features).shows[2] == 0


def test_structures_never_seen_together() -> None:
    head = fit([case(0, shows=(1,)), case(1, shows=(2,)), case(2, shows=())], "key", CLASSES)
    assert head.shown == {1: 1, 2: 1} and is_finite(head)
    assert dice(head, case(50), 1) > 0.7 and dice(head, case(50), 2) > 0.7


def test_a_third_of_wrong_labels_lowers_the_measured_quality_only() -> None:
    labelled = [case(i, wrong=i % 3 == 0) for i in range(6)]
    head, clean = fit(labelled, "key", CLASSES), fit([case(i) for i in range(6)], "key", CLASSES)
    assert is_finite(head) and head.dice is not None and clean.dice is not None
    assert head.dice < clean.dice - 0.1
    assert dice(head, case(50), 1) > 0.7


def test_empty_images_are_told_from_others() -> None:
    labelled = [case(i, shows=(1, 2) if i % 2 else ()) for i in range(6)]
    head = fit(labelled, "key", CLASSES)
    shows = [judge(head, case(50 + i).features).anything for i in range(3)]
    empty = [judge(head, case(60 + i, shows=()).features).anything for i in range(3)]
    assert min(shows) > 0.7 and max(empty) < 0.3


def test_volumes_of_different_heights_and_positions() -> None:
    def volume(seed: int, planes: int) -> Labelled:
        cases = [case(seed + i, shows=(1, 2) if i > planes // 2 else ()) for i in range(planes)]
        positions = np.linspace(0, 1, planes, dtype=np.float32)
        grids = np.concatenate([item.features.grids for item in cases])
        return Labelled(Features(grids, positions), np.concatenate([item.shares for item in cases]))

    head = fit([volume(0, 5), volume(20, 9), volume(40, 24)], "key", CLASSES)
    assert is_finite(head) and head.shown == {1: 3, 2: 3}
    presence = head.presence_of(1)
    low, high = presence.by_position(np.array([0.2, 0.8]))
    assert low < 0.4 < 0.6 < high


def test_images_of_a_patient_are_never_on_both_sides() -> None:
    groups = ["a", "b", "a", "c", "b", "", "", "a"]
    labelled = [dataclasses.replace(case(0), group=group) for group in groups]
    folds = _folds(labelled)
    assert sorted(i for fold in folds for i in fold) == list(range(8)) and len(folds) == 3
    for name in "abc":
        rows = {i for i, group in enumerate(groups) if group == name}
        assert sum(bool(rows & fold) for fold in folds) == 1
    assert fit([case(0, group="a"), case(1, group="a")], "key", CLASSES).dice is None


def test_no_label_and_labels_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one label"):
        fit([], "key", CLASSES)
    with pytest.raises(ValueError, match=r"need \(1, 64, 64, 2\)"):
        fit([case(0)], "key", [1])
