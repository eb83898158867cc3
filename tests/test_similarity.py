"""Which cells are alike: valley partitions, their consensus, and the paper's projection."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from cytomoe.errors import InputError
from cytomoe.settings import Settings
from cytomoe.similarity import build_similarity
from cytomoe.similarity.consensus import ConsensusSimilarity, agreed_clusters, metric_rows
from cytomoe.similarity.neighbours import nearest_neighbours
from cytomoe.similarity.projection import ProjectionSimilarity, umap_projection
from cytomoe.similarity.valleys import (
    MICRO_CLUSTER_ROUNDS,
    confidence_for,
    divide_wide_parts,
    micro_clusters,
    neighbour_means,
    spread_ties,
    valley_partitions,
    widen_noise,
)

FEW = Settings(partitions=4)
NO_MARKERS = np.zeros((30, 1), dtype=np.float32)


def test_valleys_find_separated_populations(blobs):
    cells, populations = blobs
    for partition in valley_partitions(cells, FEW, np.random.default_rng(0)):
        assert adjusted_rand_score(populations, partition) > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_one_population_is_not_parted(seed):
    cells = np.random.default_rng(seed).normal(2, 0.5, (4000, 6)).astype(np.float32)
    agreed = agreed_clusters(valley_partitions(cells, FEW, np.random.default_rng(seed)), cells, most=50)
    assert np.bincount(agreed).max() > 0.98 * len(cells)


def test_a_rare_population_is_found():
    rng = np.random.default_rng(0)
    common = rng.normal((3, 0, 3), 0.3, (5000, 3))
    rare = rng.normal((3, 4, 0), 0.3, (40, 3))
    cells = np.concatenate([common, rare]).astype(np.float32)
    agreed = agreed_clusters(valley_partitions(cells, FEW, rng), cells, most=50)
    assert adjusted_rand_score([0] * 5000 + [1] * 40, agreed) > 0.95


def test_no_signal_and_one_count_are_one_population():
    """Mass cytometers lose weak pulses: zeros of a dim marker stand out, and there is a dent at one count."""
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((8000, 1)) < 0.15, 0, rng.poisson(3, (8000, 1)))
    dim = np.arcsinh((counts - rng.random((8000, 1))) / 5).astype(np.float32)
    for partition in valley_partitions(dim, FEW, rng):
        assert np.bincount(partition).max() > 0.98 * len(dim)


def test_the_number_of_threads_changes_nothing(blobs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = valley_partitions(blobs[0], FEW, np.random.default_rng(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    np.testing.assert_array_equal(valley_partitions(blobs[0], FEW, np.random.default_rng(0)), alone)


def test_noise_around_zero_is_one_peak():
    """Small noise around zero, spread by arcsinh with a cofactor far below it, would have two peaks."""
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 400, 20000)
    narrow = np.arcsinh(raw / 5)[:, None].astype(np.float32)
    widened = widen_noise(narrow)
    near_zero = np.abs(widened) < 0.1
    assert near_zero.mean() > 5 * (np.abs(narrow) < 0.1).mean()
    assert (np.argsort(widened[:, 0]) == np.argsort(narrow[:, 0])).all()


def test_whole_counts_are_one_peak_and_single_values_stay():
    rng = np.random.default_rng(0)
    counts = np.arcsinh(rng.poisson(3, (5000, 1)) / 5).astype(np.float32)
    spread = spread_ties(counts, rng)
    distinct = np.unique(counts)
    assert np.abs(spread - counts).max() <= np.diff(distinct).max() / 2 + 1e-6
    assert np.histogram(spread, bins=30, range=(0, 0.8))[0].min() > 0
    measured = rng.normal(size=(100, 2)).astype(np.float32)
    np.testing.assert_array_equal(spread_ties(measured, rng), measured)


def test_wide_parts_are_divided_and_narrow_ones_left_alone():
    rng = np.random.default_rng(0)
    populations = np.repeat([0, 1, 2], 1000)
    cells = np.array([[0.0], [3.5], [9.0]])[populations] + rng.normal(0, 0.2, (3000, 10))
    parts = np.array([0, 0, 1])[populations]
    divided = divide_wide_parts(parts, cells.astype(np.float32), 2.5, rng)
    assert adjusted_rand_score(populations, divided) == 1
    assert divided.max() == 2


@pytest.mark.parametrize(("others", "markers", "wanted"), [(1, 1, 1), (63, 3, 21), (65, 40, 65), (1000, 12, 21)])
def test_nearest_neighbours_are_those_of_scikit_learn(others, markers, wanted):
    rng = np.random.default_rng(0)
    values, reference = (1e3 + rng.random((n, markers)).astype(np.float32) for n in (130, others))
    expected = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(reference).kneighbors(values)
    found = nearest_neighbours(values, reference, wanted)
    np.testing.assert_allclose(
        np.linalg.norm(reference[found] - values[:, None], axis=2), expected[0], rtol=1e-3, atol=1e-3
    )


def test_among_cells_that_are_all_alike_any_are_the_nearest():
    alike = np.ones((3000, 2), dtype=np.float32)
    found = nearest_neighbours(alike[:70], alike, 5)
    assert all(len(set(row)) == 5 for row in found.tolist())


def testmicro_clusters_are_those_of_k_means(blobs):
    cells = blobs[0][np.random.default_rng(0).permutation(len(blobs[0]))]
    expected = KMeans(4, init=cells[:4], n_init=1, max_iter=MICRO_CLUSTER_ROUNDS, tol=0).fit(cells)
    np.testing.assert_allclose(micro_clusters(cells, 4), expected.cluster_centers_, rtol=1e-3, atol=1e-3)


def test_neighbour_means_are_means_of_the_nearest(blobs):
    cells = blobs[0][:300]
    distances = np.linalg.norm(cells[:, None] - cells[None], axis=2)
    nearest = np.argsort(distances, axis=1)[:, :11]
    np.testing.assert_allclose(
        neighbour_means(cells, np.random.default_rng(0))[0], cells[nearest].mean(axis=1), rtol=1e-4, atol=1e-4
    )


def test_similarity_is_the_share_of_partitions_in_which_cells_meet():
    partitions = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [2, 2, 0, 1]])
    similarity = ConsensusSimilarity(partitions, partitions[0], np.ones(4))
    expected = (partitions[:, :, None] == partitions[:, None, :]).mean(axis=0)
    np.testing.assert_allclose(similarity.batch(np.arange(4)), expected, rtol=1e-6)
    np.testing.assert_allclose(similarity.batch(np.array([3, 0])), expected[np.ix_([3, 0], [3, 0])], rtol=1e-6)


def test_stability_is_the_mean_jaccard_index_with_the_parts_most_like_a_cluster():
    partitions = np.array([[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]])
    similarity = ConsensusSimilarity(partitions, partitions[0], np.ones(6))
    np.testing.assert_allclose(similarity.stability(partitions[0]), [(1 + 2 / 3) / 2, (1 + 3 / 4) / 2])


@given(arrays(np.int64, (5, 30), elements=st.integers(0, 3)), st.integers(1, 6))
@settings(max_examples=30)
def test_agreed_clusters_keep_cells_together_that_always_meet(partitions, most):
    agreed = agreed_clusters(partitions, NO_MARKERS, most=most)
    assert agreed.max() + 1 <= most
    together = (partitions[:, :, None] == partitions[:, None, :]).all(axis=0)
    assert (agreed[:, None] == agreed[None, :])[together].all()


def test_agreed_clusters_follow_the_majority():
    partitions = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]])
    agreed = agreed_clusters(partitions, NO_MARKERS[:5], most=10)
    assert adjusted_rand_score([0, 0, 1, 1, 1], agreed) == 1


def test_more_markers_ask_for_surer_valleys():
    """The chance of a false valley in any marker stays: one in ten markers is as likely as one in forty."""
    from scipy.stats import norm

    assert confidence_for(2.25, 10) == confidence_for(2.25, 1) == 2.25
    assert norm.sf(confidence_for(2.25, 40)) * 40 == pytest.approx(norm.sf(2.25) * 10)
    assert 30 < confidence_for(30, 1000) < 31


@pytest.mark.parametrize(("apart", "clusters"), [(0.5, 2), (0.75, 2), (0.8, 1)])
def test_clusters_stay_apart_where_enough_partitions_part_them(apart, clusters):
    partitions = np.repeat([[0, 1], [0, 1], [0, 1], [0, 0]], [60, 60], axis=1)  # three of four part them
    agreed = agreed_clusters(partitions, np.zeros((120, 1), dtype=np.float32), most=10, smallest=20, apart=apart)
    assert agreed.max() + 1 == clusters


def test_splinters_join_the_cluster_that_they_meet_most_often():
    partitions = np.repeat([[0, 1], [0, 1], [0, 1], [0, 1]], [60, 60], axis=1)
    partitions[:2, :3] = 1  # three cells that meet each cluster in half of the partitions
    partitions[2, :3] = 2
    agreed = agreed_clusters(partitions, np.zeros((120, 1), dtype=np.float32), most=10, smallest=20)
    assert adjusted_rand_score([1] * 3 + [0] * 57 + [1] * 60, agreed) == 1


def test_splinters_that_meet_no_cluster_join_the_one_with_like_markers():
    partitions = np.repeat([[0, 1, 2]] * 4, [100, 60, 3], axis=1)
    cells = np.repeat([[0.0], [3.0], [2.9]], [100, 60, 3], axis=0).astype(np.float32)
    agreed = agreed_clusters(partitions, cells, most=10, smallest=20)
    assert adjusted_rand_score([0] * 100 + [1] * 63, agreed) == 1


def test_rare_combinations_join_the_one_that_they_meet_most_often(monkeypatch):
    monkeypatch.setattr("cytomoe.similarity.consensus._MOST_COMBINATIONS", 2)
    monkeypatch.setattr("cytomoe.similarity.consensus._JOINED_AT_ONCE", 1)
    partitions = np.repeat([[0, 1, 0, 1], [0, 1, 0, 2], [0, 1, 3, 1]], [60, 50, 2, 1], axis=1)
    agreed = agreed_clusters(partitions, np.zeros((113, 1), dtype=np.float32), most=10)
    assert adjusted_rand_score([0] * 60 + [1] * 50 + [0] * 2 + [1], agreed) == 1


@given(arrays(np.float32, (40, 3), elements=st.floats(-3, 3, width=32)))
@settings(max_examples=50)
def test_a_part_that_is_not_looked_at_is_no_wider_than_the_widest(cells):
    """Cells of which no two are as far apart as a wide part's halves need no hierarchy to say so."""
    from scipy.spatial.distance import pdist

    from cytomoe.similarity.valleys import are_within

    for distance in (0.1, 1.0, 3.0, 8.0):
        if are_within(cells, distance):
            assert pdist(cells).max() < distance
    assert are_within(cells, 2.01 * float(np.sqrt(27 * 4)))


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_metric_rows_turn_a_metric_into_euclidean_distance(metric):
    from scipy.spatial.distance import pdist

    cells = np.random.default_rng(0).random((20, 5)).astype(np.float32)
    np.testing.assert_allclose(pdist(metric_rows(cells, metric)) ** 2 / 2, pdist(cells, metric), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["valleys", "consensus"])
def test_similarity_separates_populations(blobs, name):
    cells, populations = blobs
    chosen = Settings(similarity=name, partitions=3, partition_clusters=4)
    similar = build_similarity(cells, chosen, np.random.default_rng(0)).batch(np.arange(300))
    same = populations[:300, None] == populations[None, :300]
    assert similar[same].mean() > 0.95
    assert similar[~same].mean() < 0.05
    assert (np.diag(similar) > 0.999).all()
    np.testing.assert_array_equal(similar, similar.T)


def test_threshold_is_a_distance_in_the_projection():
    points = np.array([[0, 0], [1, 0], [3, 0]], dtype=np.float32)
    similar = ProjectionSimilarity(points, threshold=2).batch(np.arange(3))
    np.testing.assert_array_equal(similar, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])  # 2 is not closer than 2


def test_nearest_of_the_batch_are_similar_both_ways():
    points = np.array([[0, 0], [1, 0], [3, 0], [7, 0]], dtype=np.float32)
    similar = ProjectionSimilarity(points, neighbours=1).batch(np.arange(4))
    np.testing.assert_array_equal(similar, [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]])


def test_projection_keeps_populations_apart(blobs):
    from sklearn.neighbors import KNeighborsClassifier

    cells, populations = blobs
    points = umap_projection(cells[:600], metric="correlation", neighbours=10, rng=np.random.default_rng(0))
    classifier = KNeighborsClassifier(5).fit(points[:300], populations[:300])
    assert classifier.score(points[300:], populations[300:600]) > 0.98


def test_a_disk_that_takes_no_compiled_functions_costs_no_projection(blobs, monkeypatch):
    import umap
    from numba.core.caching import NullCache

    fit, kept = umap.UMAP.fit_transform, []

    def fit_on_a_full_disk(mapper, *arguments):
        kept.append(not isinstance(umap.umap_.smooth_knn_dist._cache, NullCache))
        if kept[-1]:
            raise OSError(28, "No space left on device")
        return fit(mapper, *arguments)

    monkeypatch.setattr(umap.UMAP, "fit_transform", fit_on_a_full_disk)
    points = umap_projection(blobs[0][:100], metric="euclidean", neighbours=5, rng=np.random.default_rng(0))
    assert np.isfinite(points).all()
    assert kept == [True, False]


def test_umap_compiles_where_no_folder_can_be_written():
    program = (
        "import numpy as np\n"
        "from numba.core.caching import CacheImpl, UserProvidedCacheLocator\n"
        "CacheImpl._locator_classes = [UserProvidedCacheLocator]\n"  # neither beside UMAP nor in the user's folder
        "from cytomoe.similarity.projection import umap_projection\n"
        "rng = np.random.default_rng(0)\n"
        "points = umap_projection(rng.random((60, 3), dtype=np.float32), metric='euclidean', neighbours=5, rng=rng)\n"
        "assert points.shape == (60, 2) and np.isfinite(points).all()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_higher_resolution_parts_more_and_a_lower_one_less(blobs):
    cells = blobs[0]
    found = [
        build_similarity(cells, Settings(partitions=4, resolution=resolution), np.random.default_rng(0)).partition
        for resolution in (0.5, 1, 4)
    ]
    counts = [len(np.unique(partition)) for partition in found]
    assert counts[0] <= counts[1] < counts[2]
    assert adjusted_rand_score(blobs[1], found[1]) > 0.99


def test_a_resolution_goes_with_valleys_alone():
    with pytest.raises(InputError, match="does not go with similarity umap"):
        Settings(similarity="umap", resolution=2.0)
