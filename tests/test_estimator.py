"""The estimator by scikit-learn's conventions: fit, map, generate, save and load."""

import json
from copy import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from cytomoe.errors import InputError
from cytomoe.estimator import MoESimVAE
from cytomoe.settings import PAPER, Settings, preset


@pytest.fixture(scope="module")
def fitted(blobs):
    return MoESimVAE(seed=3).fit(blobs[0])


def test_finds_the_populations(fitted, blobs):
    assert adjusted_rand_score(blobs[1], fitted.labels_) > 0.99


def test_clusters_are_numbered_by_size(fitted):
    counts = np.bincount(fitted.labels_)
    assert counts[0] == 0
    assert list(counts[1:]) == sorted(counts[1:], reverse=True)
    assert len(counts) == fitted.n_clusters_ + 1


def test_predict_repeats_the_labels_of_the_fit(fitted, blobs):
    np.testing.assert_array_equal(fitted.predict(blobs[0]), fitted.labels_)


def test_probabilities_are_of_the_clusters(fitted, blobs):
    probabilities = fitted.predict_proba(blobs[0])
    assert probabilities.shape == (len(blobs[0]), fitted.n_clusters_)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(1) + 1, fitted.labels_)


def test_centres_are_the_mean_codes(fitted, blobs):
    codes = fitted.transform(blobs[0])
    for cluster in range(1, fitted.n_clusters_ + 1):
        mean = codes[fitted.labels_ == cluster].mean(0)
        np.testing.assert_allclose(fitted.centres_[cluster - 1], mean, rtol=1e-3, atol=1e-3)


def test_generated_cells_look_like_their_population(fitted, blobs):
    cells, _ = blobs
    for cluster in range(1, 5):
        generated = fitted.sample(cluster, 200)
        real = cells[fitted.labels_ == cluster]
        np.testing.assert_allclose(generated.mean(0), real.mean(0), atol=0.5)


def test_generation_follows_its_seed(fitted):
    np.testing.assert_array_equal(fitted.sample(1, 5, seed=9), fitted.sample(1, 5, seed=9))
    assert not np.array_equal(fitted.sample(1, 5, seed=9), fitted.sample(1, 5, seed=10))


def test_a_cluster_that_does_not_exist_is_refused(fitted):
    with pytest.raises(InputError, match=r"no cluster 99; the model has clusters 1 to"):
        fitted.sample(99)


def test_a_population_that_the_fit_never_saw_is_unassigned(blobs):
    cells, populations = blobs
    left_out = populations == 1
    model = MoESimVAE().fit(cells[~left_out])
    assert (model.outlyingness(cells[left_out]) > 1).mean() > 0.8
    assert (model.outlyingness(cells[~left_out]) > 1).mean() < 0.05


def test_separate_populations_are_stable(fitted):
    assert (fitted.summary_.stability[:4] > 0.95).all()


def test_same_seed_same_labels(blobs, fitted):
    np.testing.assert_array_equal(MoESimVAE(seed=3).fit(blobs[0]).labels_, fitted.labels_)


def test_fit_leaves_global_generators_alone(blobs):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what the test looks at
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    MoESimVAE().fit(blobs[0][:300])
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_loaded_model_maps_as_the_saved_one(fitted, blobs, tmp_path):
    fitted.save(tmp_path / "model.cytomoe")
    loaded = MoESimVAE.load(tmp_path / "model.cytomoe")
    np.testing.assert_array_equal(loaded.predict_proba(blobs[0]), fitted.predict_proba(blobs[0]))
    np.testing.assert_array_equal(loaded.sample(2, 4), fitted.sample(2, 4))


def test_the_model_file_holds_no_cells(fitted, blobs, tmp_path):
    fitted.save(tmp_path / "model.cytomoe")
    content = (tmp_path / "model.cytomoe").read_bytes()
    scaled = fitted.preprocessor_.scale(blobs[0])
    assert not any(cell.tobytes() in content for cells in (blobs[0], scaled) for cell in cells[:200])


def test_subsample_fits_on_fewer_and_maps_all(blobs):
    model = MoESimVAE(subsample=500).fit(blobs[0])
    assert len(model.labels_) == len(blobs[0])
    assert adjusted_rand_score(blobs[1], model.labels_) > 0.98


def test_a_fitted_model_is_printed_in_a_line(fitted, blobs):
    assert repr(fitted) == f"<MoESimVAE with seed 3: {fitted.n_clusters_} clusters, {blobs[0].shape[1]} markers>"
    assert repr(MoESimVAE(seed=3)) == "MoESimVAE(seed=3)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": -1}, "0 or more"),
        ({"clusters": []}, "not all 0"),
        ({"clusters": [1, 2], "weights": [1]}, "2 clusters need as many weights, not 1"),
        ({"clusters": [1, 2], "weights": [0, 0]}, "not all 0"),
        ({"clusters": [1, 2], "weights": [-1, 2]}, "0 or more"),
        ({"clusters": [1, 2], "weights": [float("nan"), 2]}, "numbers of 0 or more"),
    ],
)
def test_cells_that_can_not_be_shared_out_are_refused(fitted, wrong, message):
    with pytest.raises(InputError, match=message):
        fitted.generate(**wrong)


def test_codes_are_a_table_with_named_columns(fitted, blobs):
    names = [f"moesimvae{i}" for i in range(fitted.settings_.code_size)]
    assert fitted.get_feature_names_out().tolist() == names
    table = copy(fitted).set_output(transform="pandas").transform(blobs[0][:10])
    assert table.columns.tolist() == names
    np.testing.assert_array_equal(table.to_numpy(), fitted.transform(blobs[0][:10]))
    with pytest.raises(NotFittedError, match="call fit first"):
        MoESimVAE().get_feature_names_out()


def test_clone_keeps_parameters():
    assert clone(MoESimVAE(experts=7, seed=5)).get_params()["experts"] == 7


def test_unfitted_model_says_so(blobs):
    with pytest.raises(NotFittedError):
        MoESimVAE().predict(blobs[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:1], "1 cell is too few"),
        (lambda x: x[:, 0], "1 dimensions"),
        (lambda x: np.where(x > 3, np.nan, x), "not finite"),
        (
            lambda x: 100 * x,
            r"marker \d reaches \d+: such values are not .*; arrays and tables .* np\.arcsinh\(x / 5\)",
        ),
    ],
)
def test_input_that_can_not_be_clustered_is_refused(blobs, change, message):
    with pytest.raises(InputError, match=message):
        MoESimVAE().fit(change(blobs[0]))


def test_another_number_of_markers_is_refused(fitted, blobs):
    with pytest.raises(InputError, match="4 columns given, but the model has 5 markers"):
        fitted.predict(blobs[0][:, :4])


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x10\x00\x00\x00\x00\x00\x00\x00{}              "])
def test_a_damaged_model_is_refused(tmp_path, content):
    path = tmp_path / "model.cytomoe"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.cytomoe"):
        MoESimVAE.load(path)


def test_a_truncated_model_is_refused(fitted, tmp_path):
    path = tmp_path / "model.cytomoe"
    fitted.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        MoESimVAE.load(path)


def test_settings_survive_json():
    assert Settings.from_dict(json.loads(json.dumps(PAPER.to_dict()))) == PAPER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experts": 0}, "experts is 0; it must be from 1 to 1,000"),
        ({"experts": 10**8}, "experts is 100000000; it must be from 1 to 1,000"),
        ({"similarity": "tsne"}, "similarity is tsne; it must be one of valleys, consensus, umap, knn"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"metric": "canberra"}, "metric canberra does not go with similarity valleys"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        preset("default", **change)


@pytest.mark.parametrize("seed", [None, -1, "a", 0.5])
def test_a_seed_that_is_no_whole_number_is_refused(blobs, seed):
    """Of none the fit went well, and the model could neither generate cells nor be read again."""
    with pytest.raises(InputError, match="the seed is a whole number from 0 to"):
        MoESimVAE(seed=seed).fit(blobs[0])


def test_numbers_of_numpy_are_kept(blobs, tmp_path):
    """As loops over arrays give them; saving the model ended in an error of JSON."""
    model = MoESimVAE(seed=np.int64(3), experts=np.int64(20), resolution=np.float64(1.5)).fit(blobs[0])
    model.save(tmp_path / "model.cytomoe")
    read = MoESimVAE.load(tmp_path / "model.cytomoe")
    assert (read.seed, read.settings_.experts, read.settings_.resolution) == (3, 20, 1.5)
