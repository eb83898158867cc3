"""The experiments on Gaussians, digits and large labelled files: their data, their similarity, their tables."""

import gzip

import numpy as np
import pandas as pd
import pytest
from brief import make_brief
from sklearn.mixture import GaussianMixture

from cytomoe.benchmarks.digits import read_digits, straighten
from cytomoe.benchmarks.presets import settings_for
from cytomoe.benchmarks.similarities import SimilarityModel, counted_similarity, principal_components
from cytomoe.benchmarks.spherical import fit_mixture
from cytomoe.benchmarks.synthetic import gaussian_mixture_data
from cytomoe.benchmarks.weber import FILES, figure_a8, find_files, rare_f1, simulate_file
from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.metrics import f_measure
from cytomoe.settings import preset
from cytomoe.similarity.consensus import ConsensusSimilarity


@pytest.mark.parametrize(("separation", "components"), [(1.0, 6), (0.5, 4)])
def test_the_number_of_components_is_found_without_being_told(separation, components):
    values, truth = gaussian_mixture_data(components, separation, seed=0)
    points = principal_components(values, 20, seed=0)
    similarity = counted_similarity(values, points, most=12, starts=1, rng=np.random.default_rng(0))
    assert len(np.unique(similarity.partition)) == components
    assert f_measure(truth, similarity.partition) > (0.99 if separation == 1 else 0.9)
    same = similarity.partition[:200, None] == similarity.partition[None, :200]
    np.testing.assert_array_equal(similarity.batch(np.arange(200)), same)


def test_fewer_experts_than_components_are_all_used():
    values, _ = gaussian_mixture_data(8, 1.0, seed=0)
    points = principal_components(values, 20, seed=0)
    similarity = counted_similarity(values, points, most=5, starts=1, rng=np.random.default_rng(0))
    assert len(np.unique(similarity.partition)) == 5


def test_the_likelihood_of_a_mixture_is_that_of_its_density():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((400, 3)) + np.repeat([[0], [4]], 200, axis=0)).astype(np.float32)
    halves = np.repeat([0, 1], 200)
    mixture = fit_mixture(values, halves)
    np.testing.assert_array_equal(mixture.labels, halves)
    ours = GaussianMixture(2, covariance_type="spherical", random_state=0).fit(values)
    # Each Gaussian with a variance of its own is likelier, but hardly so.
    assert 0 <= 400 * ours.score(values) - mixture.log_likelihood < 3


def test_a_model_trains_on_a_similarity_that_it_is_given(blobs):
    cells, _ = blobs
    halves = (cells[:, 0] > 2).astype(np.int64)

    def build(values, settings, rng):
        return ConsensusSimilarity(halves[None], halves, np.ones(len(halves)))

    settings = preset("default", warm_steps=60, steps=5, experts=5)
    labels = SimilarityModel(build, settings=settings, seed=0).fit(cells).labels_
    assert f_measure(halves, labels) > 0.98


def test_the_papers_settings_are_those_of_its_appendix():
    assert settings_for("mnist", "paper").code_size == 68
    assert settings_for("weber", "paper").experts == 25
    assert settings_for("synthetic", "paper").batch_size == 512
    assert settings_for("bodenmiller", "default") == preset("default")


def test_synthetic_writes_its_tables(tmp_path, monkeypatch, capsys):
    make_brief(monkeypatch.setattr)
    out = tmp_path / "out"
    assert run(["benchmark", "synthetic", "--components", "3", "--out", str(out), "--quiet"]) == 0
    rows = pd.read_csv(out / "rows.csv")
    assert set(rows["method"]) == {"cytomoe", "GMM, full", "GMM, diag"}
    assert rows.loc[(rows["separation"] == 1) & (rows["method"] == "cytomoe"), "f_measure"].min() > 0.9
    assert (out / "figure_a1.png").is_file()
    assert run(["benchmark", "synthetic", "--components", "3,x", "--out", str(tmp_path / "other")]) == 2
    assert "--components 3,x" in capsys.readouterr().err


def test_digits_are_read_with_their_labels(data):
    images, labels, what = read_digits(data / "mnist")
    assert images.shape == (10_000, 784)
    assert images.min() == 0
    assert images.max() == 1
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert "10,000 digits" in what


def test_damaged_digits_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="no MNIST files"):
        read_digits(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x02\1\2"))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x05\1"))
    with pytest.raises(InputError, match=r"t10k-images.*1 bytes of data"):
        read_digits(tmp_path)


def test_slanted_digits_are_straightened():
    slanted, upright = np.zeros((28, 28), np.float32), np.zeros((28, 28), np.float32)
    for row in range(6, 22):
        slanted[row, 6 + row // 2 : 9 + row // 2] = 1
        upright[row, 12:15] = 1
    columns = np.arange(28)

    def slant(image):
        square = image.reshape(28, 28)
        middles = [(columns * line).sum() / line.sum() for line in square[8:20]]
        return abs(np.polyfit(np.arange(12), middles, 1)[0])

    straight = straighten(np.stack([slanted.ravel(), upright.ravel()]))
    assert slant(slanted) > 0.4
    assert slant(straight[0]) < 0.05
    assert slant(straight[1]) < 0.01


def test_rare_f1_counts_every_other_event_against_it():
    rare = np.array([True] * 4 + [False] * 6)
    clusters = np.array([1, 1, 1, 2, 1, 2, 2, 2, 2, 2])
    assert rare_f1(rare, clusters) == pytest.approx(2 * 3 / (4 + 4))


def test_figure_a8_has_no_empty_panel():
    nan = float("nan")
    rare = {"file": ["rare"] * 2, "method": ["cytomoe"] * 2, "f_measure": nan, "mean_f1": nan, "rare_f1": [0.1, 0.2]}
    titles = [axes.get_title() for axes in figure_a8(pd.DataFrame(rare)).axes]
    assert titles == ["F1 of the rare population"]


def test_weber_files_are_found_by_their_names(data, tmp_path):
    assert "Nilsson_rare" in find_files(data)
    with pytest.raises(InputError, match="cytomoe data fetch weber"):
        find_files(tmp_path)


def test_weber_layouts_are_those_of_the_real_file(data):
    from cytomoe.io import read_fcs

    sample = read_fcs(data / "flow" / "Nilsson_rare_notransform.fcs.gz")
    layout = FILES["Nilsson_rare"]
    assert (sample.n_obs, sample.n_vars) == (layout.events, layout.channels)
    assert sample.var_names[-1] == "label"
    markers = sample.var_names[list(layout.markers)]
    assert not {"Time", "label"} & set(markers)


def test_simulated_files_have_the_layout_of_the_real_ones():
    sample = simulate_file(FILES["Levine_32dim"], quick=True)
    assert sample.shape == (265_627 // 20, 41)
    labels = sample.X[:, -1]
    assert np.isnan(labels).mean() == pytest.approx(1 - 104_184 / 265_627, abs=0.02)
    assert set(np.unique(labels[~np.isnan(labels)])) == set(range(1, 15))
