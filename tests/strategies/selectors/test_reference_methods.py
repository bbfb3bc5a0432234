"""Tests of the references themselves, on hand-computed cases."""

from __future__ import annotations

from types import ModuleType


def line(*places: float) -> list[list[float]]:
    return [[place] for place in places]


# x = 0 1 2 9 in cluster 5, x = 20 21 in cluster 3
PLACES, NAMES = line(0, 20, 1, 21, 2, 9), [5, 3, 5, 3, 5, 5]


def test_medoid_and_centre_differ(methods: ModuleType) -> None:
    # sums of distances in cluster 5: 0: 12, 1: 10, 2: 10, 9: 24; its centre is 3
    assert methods.kmeans_to_budget(PLACES, NAMES, 2) == [2, 1]
    assert methods.alps(PLACES, NAMES, 2) == [4, 1]


def test_the_largest_cluster_is_first_and_gives_again_after_all_others(methods: ModuleType) -> None:
    assert methods.kmeans_to_budget(PLACES, NAMES, 1) == [2]
    assert methods.kmeans_to_budget(PLACES, NAMES, 3) == [2, 1, 4]
    assert methods.kmeans_to_budget(PLACES, NAMES, 99) == [2, 1, 4, 3, 0, 5]
    assert methods.alps(PLACES, NAMES, 99) == [4, 1, 2, 3, 0, 5]  # away from 3: 1, 2, 3, 6
    assert methods.alps(PLACES, NAMES, 0) == []


def test_clusters_of_one_size_go_by_label(methods: ModuleType) -> None:
    assert methods.alps(line(0, 1, 10, 11), [7, 7, 2, 2], 2) == [2, 0]


def test_labelled_rows_are_no_members(methods: ModuleType) -> None:
    # cluster 5 is left with x = 0 and 9, so both clusters have two and label 3 comes first
    assert methods.kmeans_to_budget(PLACES, NAMES, 2, labelled=[2, 4]) == [1, 0]
    assert methods.alps(PLACES, NAMES, 9, labelled=[2, 4]) == [1, 0, 3, 5]
    assert methods.alps(line(0, 1, 2), [0, 0, 0], 2, labelled=[0, 1, 2]) == []


def test_calr_takes_the_middle_direction(methods: ModuleType) -> None:
    # 0, 45 and 90 degrees; lengths do not matter. Mean cosines: .354, .707, .354
    points = [[1.0, 0.0], [5.0, 5.0], [0.0, 9.0]]
    assert methods.calr(points, [0, 0, 0], 3) == [1, 0, 2]
    assert methods.urds_diversity_only(points, [0, 0, 0], 3) == [1, 0, 2]


def test_typiclust_takes_the_densest_place(methods: ModuleType) -> None:
    # mean distances to the other three: 0: 4, 1: 10/3, 2: 10/3, 9: 8
    assert methods.typiclust(PLACES, NAMES, 2) == [2, 1]
    # 25 rows at 0 and 15 at 100: only 20 neighbours count, so the 25 rows have spread 0
    assert methods.typiclust(line(*[100.0] * 15, *[0.0] * 25), [0] * 40, 1) == [15]


def test_typiclust_prefers_clusters_without_labels(methods: ModuleType) -> None:
    assert methods.typiclust(PLACES, NAMES, 2, labelled=[2]) == [1, 4]
    # two labels in cluster 5 and one in 3; cluster 5 still counts all four members
    assert methods.typiclust(PLACES, NAMES, 9, labelled=[2, 4, 1]) == [3, 0, 5]


def test_farthest_first(methods: ModuleType) -> None:
    # mean 6, the nearest is 5; then 20 (15 away), 0 (5 away), then 4 and 1 are both 1 away
    places = line(0, 1, 4, 5, 20)
    assert methods.farthest_first(places, 5) == [3, 4, 0, 1, 2]
    # from 20: 0, then 5 (5 away), then 1 and 4 tie
    assert methods.farthest_first(places, 9, labelled=[4]) == [0, 3, 1, 2]


def test_probcover_counts_what_is_not_covered(methods: ModuleType) -> None:
    # closed balls of 1: x = 1 covers 0 1 2; then 10 and 11 cover two each; then 3; then nothing is left
    places = line(0, 1, 2, 3, 10, 11)
    assert methods.probcover(places, 9, 1.0) == [1, 4, 2, 0, 3, 5]
    # 0.99 reaches no neighbour: every ball covers its own row
    assert methods.probcover(places, 3, 0.99) == [0, 1, 2]


def test_probcover_starts_from_the_labelled_balls(methods: ModuleType) -> None:
    # the ball of x = 1 holds 0 and 2; left are 3, 10 and 11
    assert methods.probcover(line(0, 1, 2, 3, 10, 11), 3, 1.0, labelled=[1]) == [4, 2, 0]


def test_probcover_delta(methods: ModuleType) -> None:
    # 2 apart inside, 8 between the clusters: at 8 two of the four balls hold both labels
    assert methods.probcover_delta(line(0, 2, 10, 12), [0, 0, 1, 1]) == 2.0
    assert methods.probcover_delta(line(0, 2, 10, 12), [0, 0, 0, 0]) == 12.0
    # twins of two labels are impure at once
    assert methods.probcover_delta(line(0, 0, 10), [0, 1, 2]) == 0.0
    assert methods.probcover_delta(line(3), [0]) == 0.0
    # the label in between is labelled: no row of the pool
    assert methods.probcover_delta(line(0, 1, 2), [0, 1, 0], labelled=[1]) == 2.0


def test_probcover_delta_lets_five_in_a_hundred_be_impure(methods: ModuleType) -> None:
    # from 1.5 to 2 only the balls of 18 and 19.5 hold each other: 2 of 40. At 2.5 that of 17 holds 19.5 too
    places, names = line(*range(19), 19.5, *range(30, 50)), [0] * 19 + [1] * 21
    assert methods.probcover_delta(places, names) == 2.0
    # 39 rows: 2 impure balls are more than 5 %
    assert methods.probcover_delta(places[:-1], names[:-1]) == 1.0


def test_urds_takes_the_most_uncertain_of_the_typical(methods: ModuleType) -> None:
    # directions of 0 10 20 30 80 degrees: typicality falls 30, 20, 10, 0, 80
    points = [[0.9848, 0.1736], [1.0, 0.0], [0.1736, 0.9848], [0.9397, 0.3420], [0.8660, 0.5]]
    labels, uncertainty = [0] * 5, [0.3, 0.8, 0.9, 0.2, 0.1]
    assert methods.urds_diversity_only(points, labels, 5) == [4, 3, 0, 1, 2]
    assert methods.urds_uncertainty_only(uncertainty, 2) == [2, 1]
    assert methods.urds_uncertainty_only(uncertainty, 2, labelled=[2]) == [1, 0]
    assert methods.urds(points, labels, uncertainty, 1, n_cand=1) == [4]
    assert methods.urds(points, labels, uncertainty, 1, n_cand=2) == [3]
    assert methods.urds(points, labels, uncertainty, 1, n_cand=3) == [0]
    # then the next typical row joins those left: 30 20 0, then 30 20 80
    assert methods.urds(points, labels, uncertainty, 3, n_cand=3) == [0, 1, 2]


def test_urds_gives_one_of_each_cluster(methods: ModuleType) -> None:
    points = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [0.2, 1.0]]
    assert methods.urds(points, [0, 0, 1, 1, 1], [0.1, 0.2, 0.9, 0.8, 0.7], 2) == [2, 1]


def test_usl_without_reg_is_the_densest_of_each_cluster(methods: ModuleType) -> None:
    # two nearest of any cluster: 0: 1.5, 1: 1, 2: 1.5 | 4: 2.5 (2, 1), 6: 3 (4, 2), 10: 5 (6, 4)
    assert methods.usl(line(0, 1, 2, 4, 6, 10), [0, 0, 0, 1, 1, 1], 2, neighbours=2, weight=0.0) == [1, 3]
    # a single round never sees reg
    assert methods.usl(
        line(0, 1, 2, 4, 6, 10), [0, 0, 0, 1, 1, 1], 2, neighbours=2, weight=9.0, rounds=1
    ) == [1, 3]


def test_usl_moves_away_from_the_other_clusters_pick(methods: ModuleType) -> None:
    # density (1 nearest): all 1. Round 1 picks x = 0 and x = 3. momentum 0, alpha 1:
    # reg of 0: 1/3, 1: 1/2, 3: 1/3, 4: 1/4, so round 2 picks 0 and 4, and round 3 the same
    places, labels = line(0, 1, 3, 4), [0, 0, 1, 1]
    assert methods.usl(places, labels, 2, neighbours=1, rounds=1) == [0, 2]
    assert methods.usl(places, labels, 2, neighbours=1, alpha=1.0, momentum=0.0, rounds=2) == [0, 3]
    assert methods.usl(places, labels, 4, neighbours=1, alpha=1.0, momentum=0.0, rounds=3) == [0, 3, 1, 2]


def test_usl_weighs_density_against_reg(methods: ModuleType) -> None:
    # 1 nearest: 0: 1/2, 2: 1/1, 3: 1/1, 6: 1/2, 8: 1/2. Cluster 0 = {0, 2}, 1 = {3, 6, 8}; round 1: 2 and 3.
    # momentum 0.5, alpha 1: reg of 3 is 0.5 * 1, of 6: 0.5 / 4, of 8: 0.5 / 6; of 0: 0.5 / 3, of 2: 0.5
    # 3 gives way to 8 above (1 - 1/2) / (1/2 - 1/12) = 1.2, and 2 to 0 above (1/2) / (1/2 - 1/6) = 1.5
    places, labels = line(0, 2, 3, 6, 8), [0, 0, 1, 1, 1]
    for weight, picks in [(1.19, [2, 1]), (1.21, [4, 1]), (1.51, [4, 0])]:
        chosen = methods.usl(
            places, labels, 2, neighbours=1, weight=weight, alpha=1.0, momentum=0.5, rounds=2
        )
        assert chosen == picks


def test_usl_survives_twins_and_single_rows(methods: ModuleType) -> None:
    assert methods.usl(line(1), [0], 3) == [0]
    assert methods.usl(line(1, 1, 1, 1), [0, 1, 0, 1], 4) == [0, 1, 2, 3]
    assert methods.usl(line(1, 2), [0, 0], 2, labelled=[0, 1]) == []
