"""The head: prediction, storage, entropy, presence and the judgement of a pool."""

import dataclasses

import numpy as np
import pytest

from infers.instant.cache import CoarseBlock
from infers.instant.features import CHANNELS, Features
from infers.instant.grids import smoothed
from infers.instant.head import INPUTS, Head, HeadError, entropy, mean_entropies, top_scores
from infers.instant.judging import judge, judge_pool, segment
from infers.instant.presence import Presence, fit_presence

NOWHERE = np.empty(0, np.float32)


def bright_head(**changes: object) -> Head:
    """Return a head for which bright places (channel 0 above 0) are structure 7, and 9 is unknown."""
    w1, w2 = np.zeros((INPUTS, 4), np.float32), np.zeros((4, 3), np.float32)
    w1[0, 0], w1[0, 1], w2[0, 1], w2[1, 0] = 8, -8, 1, 1
    member = (w1, np.zeros(4, np.float32), w2, np.array([0, 0, -1e4], np.float32))
    head = Head("key", (7, 9), {7: 3, 9: 0}, 3, (member,), {7: Presence()}, {7: 0.9, 9: None})
    return dataclasses.replace(head, **changes)  # type: ignore[arg-type]


def picture(bright: int, side: int = 64) -> Features:
    grids = np.full((1, side, side, CHANNELS), -1, np.float16)
    grids[0, : bright * side // 64, : bright * side // 64] = 1
    return Features(grids, NOWHERE)


def test_places_are_predicted_one_by_one() -> None:
    probabilities = bright_head().predict(picture(20))
    assert probabilities.shape == (1, 64, 64, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    assert (probabilities[0, :20, :20].argmax(axis=-1) == 1).all()
    assert (probabilities[0].argmax(axis=-1) == 1).sum() == 400
    assert probabilities[..., 2].max() == 0
    many = Features(np.repeat(picture(20).grids, 40, axis=0), np.linspace(0, 1, 40, dtype=np.float32))
    np.testing.assert_allclose(bright_head().predict(many)[37], probabilities[0], atol=1e-6)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(HeadError, match="5 channels"):
        bright_head().predict(Features(np.zeros((1, 8, 8, 5), np.float16), NOWHERE))


def test_a_head_survives_storage_and_damage_is_named() -> None:
    head = bright_head(presence={7: Presence(1.5, 0.2, [0.1, 0.9], [0, 1])})
    data = head.to_bytes()
    stored = Head.from_bytes(data)
    assert len(data) < 100_000
    np.testing.assert_array_equal(stored.predict(picture(9)), head.predict(picture(9)))
    for field in dataclasses.fields(Head):
        if field.name != "members":
            assert getattr(stored, field.name) == getattr(head, field.name), field.name
    assert stored.to_bytes() == data and stored.dice == 0.9
    for damaged in (b"", data[:-40], b"PK\x03\x04" + data[4:200]):
        with pytest.raises(HeadError, match="fitted anew"):
            Head.from_bytes(damaged)


def test_entropy_is_that_of_the_classes_and_of_places_that_may_show_something() -> None:
    probabilities = np.array([[[[0.5, 0.5], [1.0, 0.0]], [[0.95, 0.05], [0.9, 0.1]]]], np.float32)
    nats = entropy(probabilities)
    assert nats[0, 0, 0] == pytest.approx(np.log(2), abs=1e-6) and abs(nats[0, 0, 1]) < 1e-6
    mean, foreground = mean_entropies(probabilities, nats)
    assert mean == pytest.approx(nats.mean())
    assert foreground == pytest.approx((nats[0, 0, 0] + nats[0, 1, 1]) / 2)
    assert mean_entropies(probabilities[:, :1, 1:], nats[:, :1, 1:])[1] == 0


def test_the_top_score_is_the_mean_of_one_percent() -> None:
    probabilities = bright_head().predict(picture(6, 64))
    assert top_scores(probabilities, (7, 9))[7][0] == pytest.approx(36 / 40, abs=0.03)


def test_a_pool_is_judged_as_its_images_are_one_by_one() -> None:
    pictures = [picture(bright) for bright in (0, 8, 32)]
    grids = np.concatenate([item.coarse().grids for item in pictures])
    block = CoarseBlock(["a", "b", "c"], np.array([0, 1, 2, 3]), Features(grids, NOWHERE))
    judged = dict(judge_pool(bright_head(), [block]))
    for image, item in zip("abc", pictures, strict=True):
        assert judged[image].shows == pytest.approx(judge(bright_head(), item).shows, abs=1e-6)
        assert judged[image].shows[9] == 0
    assert judged["a"].anything < 0.1 < 0.9 < judged["c"].anything
    assert judged["a"].foreground_entropy == 0 <= judged["a"].entropy


def test_a_structure_that_is_likely_absent_is_left_out_once_that_can_be_trusted() -> None:
    cautious = Presence(slope=1, offset=-12)
    few = bright_head(presence={7: cautious}, labels=11, shown={7: 5, 9: 0})
    many = bright_head(presence={7: cautious}, labels=12, shown={7: 5, 9: 0})
    always = bright_head(presence={7: cautious}, labels=12, shown={7: 12, 9: 0})
    item = picture(20)
    for head in (few, always):
        np.testing.assert_array_equal(segment(head, item), smoothed(head.predict(item)))
    left_out = segment(many, item)
    assert left_out[..., 1].max() == 0
    np.testing.assert_allclose(left_out.sum(axis=-1), 1, atol=1e-5)


def test_a_speck_is_smoothed_away_and_a_square_stays() -> None:
    item = picture(20)
    item.grids[0, 40, 40] = 1
    head = bright_head()
    assert head.predict(item)[0, 40, 40].argmax() == 1
    shown = segment(head, item)[0].argmax(axis=-1) == 1
    assert not shown[40, 40] and 390 <= shown.sum() <= 400


def test_a_volume_shows_what_its_likeliest_slice_shows() -> None:
    grids = np.concatenate([picture(0).coarse().grids, picture(40).coarse().grids])
    block = CoarseBlock(["v"], np.array([0, 2]), Features(grids, np.array([0, 1], np.float32)))
    ((_, judged),) = judge_pool(bright_head(), [block])
    assert judged.shows[7] > 0.9


def test_presence_learns_where_the_scores_divide() -> None:
    scores = np.array([0.02, 0.1, 0.2, 0.3, 0.35, 0.4])
    shows = np.array([0, 0, 0, 1, 1, 1])
    calibrated = fit_presence(scores, shows).probability(scores)
    assert (np.diff(calibrated) > 0).all()
    assert calibrated[1] < 0.5 < calibrated[4]
    assert np.mean(calibrated) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shows", [[1, 1, 1], [0, 0, 0], [1]])
def test_presence_of_one_kind_only_stays_sensible(shows: list[int]) -> None:
    presence = fit_presence(np.full(len(shows), 0.6), np.array(shows))
    low, high = presence.probability(np.array([0.01, 0.99]))
    assert 0 < low < high < 1


def test_presence_never_falls_with_the_score() -> None:
    presence = fit_presence(np.array([0.1, 0.2, 0.8, 0.9]), np.array([1, 1, 0, 0]))
    assert presence.slope >= 0


def test_positions_near_labelled_planes_show_what_these_show() -> None:
    presence = Presence(1, 0, [0.0, 0.1, 0.5, 0.55], [0, 0, 1, 1])
    at = presence.by_position(np.array([0.05, 0.3, 0.5, 1.0]))
    # p = (1/2 + sum k y) / (1 + sum k + e), with exp(-(0.5/0.15)^2) and the like close to 0
    kernels = 1 + np.exp(-((0.05 / 0.15) ** 2))
    assert at[2] == pytest.approx((0.5 + kernels) / (1 + kernels), abs=2e-3)
    assert at[3] == pytest.approx(0.5 / 2, abs=2e-3)
    assert at[0] < at[1] < at[2]
    same = np.array([0.5, 0.5])
    low, high = presence.probability(same, np.array([0.05, 0.5]))
    assert low < 0.5 < high
    np.testing.assert_allclose(presence.probability(same), 0.5)
