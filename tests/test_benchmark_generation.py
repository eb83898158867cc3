"""Generation and ablation: VaDE, what is measured of generated cells, and both experiments through their commands."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from brief import make_brief

from cytomoe.benchmarks.ablation import NO_SIMILARITY, one_decoder, repeated, variants
from cytomoe.benchmarks.codes import discrepancies, separation
from cytomoe.benchmarks.digits import most_frequent_digits, orientation_features
from cytomoe.benchmarks.generation_cells import compare_cells, correlation_difference
from cytomoe.benchmarks.generators import ExpertGenerator, VaDEGenerator, returned, round_trip
from cytomoe.benchmarks.similarities import spectral_similarity
from cytomoe.benchmarks.vade import (
    SMALL,
    VaDENetwork,
    decode_codes,
    draw_accepted,
    encode_means,
    fit_vade,
    posteriors,
    prior_divergence,
)
from cytomoe.cli.main import run
from cytomoe.settings import preset
from cytomoe.training.loop import build_network

TINY = replace(SMALL, likelihood="gaussian", widths=(32,), code_size=2, pretraining_epochs=30, epochs=15, batch_size=50)


@pytest.fixture(scope="module")
def groups():
    """Three groups of values in [0, 1] and their labels."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 200)
    centres = np.array([[0.2, 0.2, 0.8, 0.5], [0.8, 0.2, 0.2, 0.5], [0.5, 0.8, 0.5, 0.1]])
    values = (centres[labels] + 0.03 * rng.standard_normal((600, 4))).clip(0, 1)
    return values.astype(np.float32), labels


@pytest.fixture(scope="module")
def vade(groups):
    return fit_vade(groups[0], 3, TINY, 0, device=torch.device("cpu"))


def test_vade_finds_plain_groups(groups, vade):
    values, labels = groups
    found = posteriors(vade, encode_means(vade, values)).argmax(axis=1)
    assert len({tuple(pair) for pair in zip(found, labels, strict=True)}) == 3


def test_vade_of_one_seed_is_one_model(groups, vade):
    again = fit_vade(groups[0], 3, TINY, 0, device=torch.device("cpu"))
    assert torch.equal(again.centres, vade.centres)


def test_the_divergence_of_one_component_is_that_of_two_gaussians():
    network = VaDENetwork(4, 1, TINY)
    with torch.no_grad():
        network.centres.copy_(torch.tensor([[1.0, -1.0]]))
        network.log_variances.copy_(torch.tensor([[0.3, -0.2]]))
    means, log_variances = torch.tensor([[0.5, 0.0]]), torch.tensor([[-1.0, 0.4]])
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(
        normal(means, (0.5 * log_variances).exp()), normal(network.centres, (0.5 * network.log_variances).exp())
    ).sum()
    found = prior_divergence(network, means, means, log_variances)
    assert found.item() == pytest.approx(exact.item(), abs=1e-5)


def test_accepted_codes_reach_the_threshold_and_every_draw_counts(vade):
    rng = np.random.default_rng(0)
    codes, draws = draw_accepted(vade, 1, 200, 0.0, rng, most=10_000)
    assert (len(codes), draws) == (200, 200)
    codes, draws = draw_accepted(vade, 1, 200, 0.99, rng, most=100_000)
    assert posteriors(vade, codes)[:, 1].min() >= 0.99
    assert draws >= len(codes) == 200
    codes, draws = draw_accepted(vade, 1, 50, 1.1, rng, most=5000)
    assert (len(codes), draws) == (0, 5000)


def test_a_gaussian_likelihood_adds_its_noise(vade):
    codes = np.zeros((500, 2), np.float32)
    assert np.ptp(decode_codes(vade, codes), axis=0).max() == 0
    assert decode_codes(vade, codes, np.random.default_rng(0)).std(axis=0).min() > 0


def test_a_round_trip_counts_what_comes_back(vade):
    confusion, draws = round_trip(VaDEGenerator(vade), 100, 0.5, np.random.default_rng(0))
    assert confusion.sum(axis=1).tolist() == [100, 100, 100]
    assert min(draws) >= 100
    assert returned(confusion).min() > 0.9
    assert np.isnan(returned(np.array([[0, 0], [1, 3]]))[0])
    assert returned(np.array([[0, 0], [1, 3]]))[1] == 0.75


def test_experts_draw_a_unit_gaussian_around_the_centre_in_one_draw_each():
    network = build_network(4, preset("default", experts=2, code_size=3)).eval()
    generator = ExpertGenerator(network, np.array([[0, 0, 0], [5, 5, 5]], np.float32))
    codes, draws = generator.draw(1, 4000, 0.999, np.random.default_rng(0))
    assert draws == 4000
    np.testing.assert_allclose(codes.mean(axis=0), 5, atol=0.1)
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.05)


def test_discrepancies_tell_clusters_apart_and_halves_alike():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    codes = (np.array([0, 6, 12])[labels][:, None] + rng.standard_normal((300, 2))).astype(np.float32)
    found = discrepancies(codes, labels)
    apart = separation(found)
    assert np.allclose(found, found.T)
    assert apart["mmd2_within"] < 0.05 < 0.3 < apart["mmd2_smallest"]


def test_generated_cells_are_told_from_real_ones_only_where_they_differ():
    rng = np.random.default_rng(0)
    root = np.array([[1, 0.8], [0, 0.6]])
    real, same, other = (rng.standard_normal((400, 2)).astype(np.float32) @ root.astype(np.float32) for _ in range(3))
    alike = compare_cells(real, same, ["CD3", "CD4"], 0)
    assert alike["auc"] == pytest.approx(0.5, abs=0.08)
    shifted = compare_cells(real, other + np.array([0, 3], np.float32), ["CD3", "CD4"], 0)
    assert shifted["auc"] > 0.9
    assert shifted["worst_marker"] == "CD4"
    assert shifted["worst"] == pytest.approx(3, abs=0.3)
    independent = rng.standard_normal((400, 2)).astype(np.float32)
    assert correlation_difference(real, independent) == pytest.approx(0.8, abs=0.1)
    assert correlation_difference(real, np.zeros_like(real)) == pytest.approx(0.8, abs=0.1)


def test_orientation_features_hardly_see_a_small_shift():
    images = np.zeros((3, 28, 28), np.float32)
    images[0, 6:22, 13:15] = 1
    images[1, 6:22, 14:16] = 1
    images[2, 13:15, 6:22] = 1
    upright, moved, level = orientation_features(images.reshape(3, -1))
    assert np.linalg.norm(upright) == pytest.approx(1, abs=1e-5)
    assert upright @ moved > 0.9
    assert upright @ level < 0.5


def test_spectral_partitions_find_groups_of_different_density():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 200)
    middles, spreads = np.array([[0, 0], [6, 0], [0, 6]]), np.array([0.3, 1.0, 0.3])
    points = middles[truth] + spreads[truth][:, None] * rng.standard_normal((600, 2))
    similarity = spectral_similarity(points.astype(np.float32), clusters=3, neighbours=(10, 15), rng=rng)
    assert (pd.crosstab(truth, similarity.partition).max(axis=1) >= 198).all()


def test_most_frequent_digits():
    found = most_frequent_digits(np.array([0, 0, 0, 2]), np.array([7, 7, 1, 3]), 3)
    assert found.tolist() == [7, 0, 3]


def test_variants_leave_out_one_thing_each():
    complete = preset("default", coef_depict=0.05, coef_kl=0.02, warm_steps=10, steps=5)
    made = variants(complete)
    assert made[NO_SIMILARITY].coef_clustering == 0
    assert made[NO_SIMILARITY].steps == 15
    assert made["without KL"] == replace(complete, coef_kl=0.0)
    assert made["without DEPICT"] == replace(complete, coef_depict=0.0)


def test_one_decoder_serves_every_cluster_alike():
    settings = preset("default", experts=3, code_size=2, expert_widths=(4,))
    network = build_network(5, settings)
    network.experts = one_decoder(network, settings)
    codes, experts = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        shared = network.experts(codes, experts)
        assert torch.equal(shared, network.experts(codes, experts.flip(0)))
        network.experts = repeated(network, settings)
        assert torch.allclose(network.experts(codes, experts), shared, atol=1e-6)


@pytest.fixture
def brief(monkeypatch):
    make_brief(monkeypatch.setattr)


@pytest.mark.usefixtures("brief")
def test_generation_of_digits_writes_tables_and_figures(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["benchmark", "generation", "--data", str(data / "mnist"), "--quick", "--out", str(out)]) == 0
    rows = pd.read_csv(out / "rows.csv")
    assert not [name for name in rows.columns if name.startswith("_")]
    generated = rows[rows["kind"] == "generated"]
    assert (generated["method"] == "cytomoe").sum() == 1
    assert generated.loc[generated["method"] == "VaDE", "threshold"].tolist() == [
        0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999,
    ]  # fmt: skip
    own = generated[generated["method"] == "cytomoe"].iloc[0]
    assert own["draws"] == own["images"]
    figures = {"figure_2.png", "figure_a3.png", "figure_a5.png", "figure_a6_a7.png"}
    assert figures <= {path.name for path in out.iterdir()}
    table = pd.read_csv(out / "generated_digits.csv")
    assert not [name for name in table.columns if "published" in name]
    assert "accuracy (published)" in capsys.readouterr().out


@pytest.mark.usefixtures("brief")
def test_generation_of_cells_compares_with_real_ones(tmp_path):
    from cytomoe.benchmarks.simulated_wells import write_well

    (tmp_path / "plate").mkdir()
    write_well(tmp_path / "plate", "AKTi_A02", 3000)
    out = tmp_path / "out"
    assert run(["benchmark", "generation", "--data", str(tmp_path / "plate"), "--quick", "--out", str(out)]) == 0
    rows = pd.read_csv(out / "rows.csv")
    assert set(rows["sample"]) == {"AKTi_A02"}
    table = pd.read_csv(out / "generated_against_held_out_real_cells.csv").set_index("method")
    assert table.loc["real cells of the fit", "AUC real / generated"] == pytest.approx(0.5, abs=0.12)
    distances = table["Wasserstein distance"]
    assert distances["real cells of the fit"] < distances["cytomoe, own spread"] < distances["cytomoe, N(centre, I)"]
    assert len(pd.read_csv(out / "wasserstein_distance_per_marker.csv")) == 10


@pytest.mark.usefixtures("brief")
@pytest.mark.slow
def test_ablation_has_a_line_per_variant(data, tmp_path):
    out = tmp_path / "out"
    assert run(["benchmark", "ablation", "--data", str(data / "mnist"), "--quick", "--quiet", "--out", str(out)]) == 0
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert list(table.index) == ["complete", "without similarity", "without DEPICT", "without KL", "one decoder"]
    assert (out / "figure_a4.png").is_file()


def test_data_that_is_not_there_is_one_line(tmp_path, capsys):
    assert run(["benchmark", "generation", "--data", str(tmp_path / "none.fcs"), "--out", str(tmp_path / "a")]) == 2
    assert "none.fcs: no such file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    for name in ("ablation", "mnist"):
        arguments = ["benchmark", name, "--data", str(tmp_path / "empty"), "--out", str(tmp_path / name)]
        assert run(arguments) == 2
        assert "holds no MNIST files" in capsys.readouterr().err
