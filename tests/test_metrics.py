"""The measures against slow transcriptions of their definitions, scikit-learn, and values computed by hand."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cytomoe.metrics import (
    Contingency,
    accuracy,
    adjusted_rand_index,
    f_measure,
    mean_f1,
    mmd2_unbiased,
    normalized_mutual_information,
)

ALL_MEASURES = [f_measure, mean_f1, adjusted_rand_index, normalized_mutual_information, accuracy]

labellings = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abcde"), min_size=n, max_size=n),
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
    )
)


def pair_f1(gates, clusters, gate, cluster):
    """F1 of one population and one cluster, straight from precision and recall."""
    in_gate = {i for i, g in enumerate(gates) if g == gate}
    in_cluster = {i for i, k in enumerate(clusters) if k == cluster}
    shared = len(in_gate & in_cluster)
    if shared == 0:
        return 0.0
    precision, recall = shared / len(in_cluster), shared / len(in_gate)
    return 2 * precision * recall / (precision + recall)


def slow_f_measure(gates, clusters):
    total = 0.0
    for gate in set(gates):
        best = max(pair_f1(gates, clusters, gate, cluster) for cluster in set(clusters))
        total += gates.count(gate) / len(gates) * best
    return total


def best_assignment(gates, clusters, gain):
    """Largest summed gain over all one-to-one assignments, by trying every one of them."""
    populations, found = sorted(set(gates)), sorted(set(clusters))
    candidates = found + [None] * len(populations)  # None: no cluster for this population
    return max(
        sum(0.0 if cluster is None else gain(gate, cluster) for gate, cluster in zip(populations, chosen, strict=True))
        for chosen in set(permutations(candidates, len(populations)))
    )


def slow_mean_f1(gates, clusters):
    best = best_assignment(gates, clusters, lambda gate, cluster: pair_f1(gates, clusters, gate, cluster))
    return best / len(set(gates))


@given(labellings)
def test_f_measure_equals_its_definition(labels):
    gates, clusters = labels
    assert f_measure(gates, clusters) == pytest.approx(slow_f_measure(gates, clusters))


small_labellings = st.integers(1, 20).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abc"), min_size=n, max_size=n), st.lists(st.integers(0, 3), min_size=n, max_size=n)
    )
)


@given(small_labellings)
def test_mean_f1_equals_the_best_of_all_matchings(labels):
    gates, clusters = labels
    assert mean_f1(gates, clusters) == pytest.approx(slow_mean_f1(gates, clusters))


@given(small_labellings)
def test_accuracy_equals_the_best_of_all_matchings(labels):
    gates, clusters = labels

    def both(gate, cluster):
        return sum(g == gate and k == cluster for g, k in zip(gates, clusters, strict=True))

    assert accuracy(gates, clusters) == pytest.approx(best_assignment(gates, clusters, both) / len(gates))


@given(labellings)
def test_adjusted_rand_index_equals_scikit_learn(labels):
    assert adjusted_rand_index(*labels) == pytest.approx(adjusted_rand_score(*labels), abs=1e-12)


@given(labellings)
def test_normalized_mutual_information_equals_scikit_learn(labels):
    expected = normalized_mutual_info_score(*labels, average_method="arithmetic")
    assert normalized_mutual_information(*labels) == pytest.approx(expected, abs=1e-9)


@given(labellings, st.randoms(use_true_random=False))
def test_order_of_events_does_not_matter(labels, random):
    gates, clusters = labels
    order = list(range(len(gates)))
    random.shuffle(order)
    shuffled = [gates[i] for i in order], [clusters[i] for i in order]
    assert [measure(*labels) for measure in ALL_MEASURES] == [measure(*shuffled) for measure in ALL_MEASURES]


@given(labellings, st.permutations(range(6)))
def test_names_of_clusters_do_not_matter(labels, renamed):
    gates, clusters = labels
    other = [renamed[cluster] for cluster in clusters]
    for measure in ALL_MEASURES:
        assert measure(gates, clusters) == pytest.approx(measure(gates, other), abs=1e-12)


@given(labellings)
def test_every_measure_is_one_for_equal_partitions(labels):
    gates, _ = labels
    clusters = [ord(gate) for gate in gates]
    assert [measure(gates, clusters) for measure in ALL_MEASURES] == pytest.approx([1.0] * len(ALL_MEASURES))


@given(labellings)
def test_mean_f1_is_the_mean_over_the_population_table(labels):
    scores = Contingency.of(*labels).populations()
    assert np.mean([score.f1 for score in scores]) == pytest.approx(mean_f1(*labels))


# Gates a (6 events) and b (4); clusters: 0 = 5 a; 1 = 1 a + 3 b; 2 = 1 b.
HAND_GATES = list("aaaaaabbbb")
HAND_CLUSTERS = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_f_measure_by_hand():
    # F1(a, 0) = 2 * 5 / (6 + 5) = 10/11; F1(b, 1) = 2 * 3 / (4 + 4) = 3/4.
    assert f_measure(HAND_GATES, HAND_CLUSTERS) == pytest.approx(0.6 * 10 / 11 + 0.4 * 3 / 4)


def test_mean_f1_by_hand():
    assert mean_f1(HAND_GATES, HAND_CLUSTERS) == pytest.approx((10 / 11 + 3 / 4) / 2)


def test_population_table_by_hand():
    first, second = Contingency.of(HAND_GATES, HAND_CLUSTERS).populations()
    assert (first.gate, first.n, first.cluster, first.precision, first.recall) == ("a", 6, 0, 1.0, 5 / 6)
    assert (second.gate, second.n, second.cluster, second.precision, second.recall) == ("b", 4, 1, 0.75, 0.75)


def test_the_two_measures_part_where_populations_share_a_cluster():
    # One cluster for both: F1(a) = 2 * 3 / (3 + 4) = 6/7 and F1(b) = 2 * 1 / (1 + 4) = 2/5, but only a gets it.
    gates, clusters = list("aaab"), [7, 7, 7, 7]
    assert f_measure(gates, clusters) == pytest.approx(0.75 * 6 / 7 + 0.25 * 2 / 5)
    assert mean_f1(gates, clusters) == pytest.approx((6 / 7) / 2)


def test_population_without_a_cluster_has_none_in_the_table():
    scores = Contingency.of(list("aaab"), [7, 7, 7, 7]).populations()
    assert [(score.gate, score.cluster, score.f1) for score in scores] == [
        ("a", 7, pytest.approx(6 / 7)),
        ("b", None, 0.0),
    ]


def test_a_cluster_that_shares_no_event_is_no_match():
    # a -> 0 and b -> 1 is the best matching (F1 8/9 and 0), but cluster 1 holds nothing of b.
    scores = Contingency.of(list("aaaaaaaaab"), [0] * 8 + [1, 0]).populations()
    assert [(score.gate, score.cluster, score.f1) for score in scores] == [
        ("a", 0, pytest.approx(8 / 9)),
        ("b", None, 0.0),
    ]


def test_matching_takes_the_largest_sum_not_the_greedy_choice():
    # Greedy: a takes cluster 0 (F1 0.75 against 0.5), b is left with nothing; the best sum gives 0 to b.
    gates = list("aaaaa" + "bbb")
    clusters = [0, 0, 0, 1, 1, 0, 0, 0]
    assert slow_mean_f1(gates, clusters) == pytest.approx(mean_f1(gates, clusters))
    assert {s.gate: s.cluster for s in Contingency.of(gates, clusters).populations()} == {"a": 1, "b": 0}


@pytest.mark.parametrize("measure", ALL_MEASURES)
@pytest.mark.parametrize("missing", ["", None, float("nan")])
def test_events_without_a_gate_are_left_out(measure, missing):
    gates = np.array([*HAND_GATES, missing, missing], dtype=object)
    assert measure(gates, [*HAND_CLUSTERS, 0, 3]) == measure(HAND_GATES, HAND_CLUSTERS)


def test_negative_gate_codes_mean_no_gate():
    assert f_measure([0, 0, 1, -1, -1], [0, 0, 1, 0, 1]) == 1.0


def test_missing_categories_mean_no_gate():
    gates = pd.Categorical(["a", "a", "b", None])
    assert mean_f1(gates, [0, 0, 1, 0]) == 1.0


def test_cluster_of_ungated_events_alone_is_no_column():
    assert Contingency.of(["a", "b", ""], [0, 1, 2]).clusters.tolist() == [0, 1]


def test_one_population_split_in_two():
    # F1 of the larger half: 2 * 3 / (5 + 3).
    assert f_measure(["a"] * 5, [0, 0, 0, 1, 1]) == mean_f1(["a"] * 5, [0, 0, 0, 1, 1]) == 0.75


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="3 gates for 2 cluster labels"):
        f_measure(["a", "b", "c"], [0, 1])


def test_no_gated_event_is_an_error():
    with pytest.raises(ValueError, match="no event has a gate"):
        mean_f1(["", ""], [0, 1])


def test_gated_event_without_a_cluster_is_an_error():
    with pytest.raises(ValueError, match="needs a cluster"):
        f_measure(["a", "b"], np.array([1, None], dtype=object))


def slow_mmd2(X, Y, bandwidth):
    def kernel(x, y):
        return np.exp(-np.sum((x - y) ** 2) / (2 * bandwidth**2))

    m, n = len(X), len(Y)
    xx = sum(kernel(X[i], X[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(kernel(Y[i], Y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    xy = sum(kernel(x, y) for x in X for y in Y) / (m * n)
    return xx + yy - 2 * xy


points = st.lists(st.lists(st.floats(-3, 3), min_size=2, max_size=2), min_size=2, max_size=6)


@given(points, points, st.floats(0.2, 5))
def test_mmd2_equals_equation_14(first, second, bandwidth):
    X, Y = np.array(first), np.array(second)
    assert mmd2_unbiased(X, Y, bandwidth=bandwidth) == pytest.approx(slow_mmd2(X, Y, bandwidth), abs=1e-9)


def test_mmd2_takes_the_median_distance_as_bandwidth():
    X, Y = np.array([[0.0], [1.0]]), np.array([[3.0], [7.0]])  # distances 1, 4, 3, 7, 2, 6: median 3.5
    assert mmd2_unbiased(X, Y) == pytest.approx(slow_mmd2(X, Y, 3.5))


def test_mmd2_of_one_distribution_is_small_and_of_two_is_large():
    rng = np.random.default_rng(0)
    near = mmd2_unbiased(rng.normal(size=(400, 5)), rng.normal(size=(400, 5)))
    far = mmd2_unbiased(rng.normal(size=(400, 5)), rng.normal(2.0, size=(400, 5)))
    assert abs(near) < 0.01 < 0.2 < far


def test_mmd2_of_coinciding_points_is_zero():
    assert mmd2_unbiased(np.ones((3, 2)), np.ones((4, 2))) == 0.0


def test_mmd2_needs_two_rows():
    with pytest.raises(ValueError, match="two rows"):
        mmd2_unbiased(np.ones((1, 2)), np.ones((4, 2)))


def test_mmd2_needs_equal_dimensions():
    with pytest.raises(ValueError, match="equal dimensions"):
        mmd2_unbiased(np.ones((3, 2)), np.ones((4, 3)))
