"""Known cells: they name clusters, part what the data would not, leave what nobody named alone, and may be wrong."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.estimator import MoESimVAE
from cytomoe.io import read_fcs
from cytomoe.io.gates import Gates
from cytomoe.io.overlaps import Overlaps
from cytomoe.runs.cluster import describe_known, known_alone
from cytomoe.runs.fitting import on_all_copies
from cytomoe.similarity.prior import KnownPairs, Prior, name_by_types, share_out_parts, trusted_types, type_means

SAMPLE = "example_data/example_A01.fcs"
NAMES = {1: "helpers", 3: "killers", 5: "NK", 12: "DR lost"}


def test_a_part_with_known_cells_of_one_type_becomes_that_type():
    partition = np.array([0, 0, 0, 1, 1, 2])
    known = np.array([1, -1, -1, 1, -1, -1])
    values = np.zeros((6, 2), dtype=np.float32)
    shared = share_out_parts(partition, values, known, np.zeros((2, 2), np.float32))
    assert shared[:5].tolist() == [1] * 5  # both parts of type 1 are joined
    assert shared[5] not in (0, 1)  # nobody named the last: the data decides


def test_a_large_part_does_not_become_a_small_population_for_one_known_cell_in_it():
    """Were the part of 5,000 of the population, most of its known cells would have been taken there."""
    partition = np.repeat([0, 1, 2], [50, 5000, 1000])
    known = np.full(len(partition), -1)
    known[[0, 1, 2, 3, 50]] = 0
    shared = share_out_parts(partition, np.zeros((len(known), 2), np.float32), known, np.zeros((1, 2), np.float32))
    assert (shared[:50] == 0).all()
    assert (shared[50:] != 0).all()


def test_parts_of_a_population_are_joined_where_its_known_cells_are_spread_over_them():
    partition = np.repeat([0, 1, 2], [1000, 5000, 1000])
    known = np.full(len(partition), -1)
    known[[0, 1, 1000, 1001, 1002, 1003, 1004]] = 0
    shared = share_out_parts(partition, np.zeros((len(known), 2), np.float32), known, np.zeros((1, 2), np.float32))
    assert (shared == 0).tolist() == (partition < 2).tolist()


def test_a_few_known_cells_of_a_small_population_do_not_rename_a_large_one(data, tmp_path, capsys):
    """A real well: half of the known cells lie in a splinter that the clusters on which partitions agree swallow."""
    wells = sorted(map(str, (data / "bodenmiller").glob("*_H05.fcs")))
    chosen = ["--markers", "CD3,CD45,CD4,CD20,CD33,CD123,CD14,IgM,HLA-DR,CD7", "--no-report", "--h5ad", "no"]
    chosen += ["--gate-pattern", "{plate}_{gate}_{well}.fcs"]
    names = []
    for path in wells:
        own = np.full(read_fcs(path).n_obs, "", dtype=object)
        if "dendritic" in path:
            own[np.linspace(0, len(own) - 1, 10).astype(int)] = "dendritic"
        names.append(own)
    pd.DataFrame({"population": np.concatenate(names)}).to_csv(tmp_path / "known.csv", index=False)
    arguments = ["cluster", *wells, *chosen, "--prior", str(tmp_path / "known.csv"), "--out", str(tmp_path / "out")]
    assert run(arguments) == 0
    assert "10 events are known: dendritic 10" in capsys.readouterr().err  # from whichever copy names them
    clusters = pd.read_csv(tmp_path / "out" / "clusters.csv")
    assert clusters.loc[clusters["population"] == "dendritic", "events"].sum() < 300
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["unique"]
    assert found["f_measure"] > 0.98


def test_known_cells_count_from_any_row_of_an_event_and_not_where_rows_differ():
    names = np.array([None, "T", None, "B", "NK", "B", None], dtype=object)
    event = np.array([0, 0, 2, 2, 2, 5, 6])
    known, differing = on_all_copies(Gates.from_labels(names), Overlaps(event, np.ones(7, dtype=bool), {}))
    assert [None if code < 0 else known.names[code] for code in known.codes] == ["T", "T", None, None, None, "B", None]
    assert differing == 1


def test_known_cells_that_were_not_followed_are_told(tmp_path, capsys):
    gates = read_fcs(SAMPLE)[:, "gate"].X[:, 0]
    names = np.full(len(gates), "", dtype=object)
    names[np.flatnonzero(gates == 5)[:12]] = "NK"
    names[np.flatnonzero(gates == 1)[:2]] = "NK"
    names[np.flatnonzero(gates == 1)[2:8]] = "helpers"
    pd.DataFrame({"population": names}).to_csv(tmp_path / "known.csv", index=False)
    arguments = ["cluster", SAMPLE, "--prior", str(tmp_path / "known.csv"), "--out", str(tmp_path / "out")]
    assert run([*arguments, "--no-report", "--h5ad", "no"]) == 0
    assert "lie among cells of another kind, and whose clusters are not called so: NK 2 of 14 (most in cluster 1)" in (
        capsys.readouterr().err
    )


def test_a_part_with_known_cells_of_two_types_is_shared_out_between_them():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], [900, 100])
    values = (rng.normal(0, 0.5, (1000, 3)) + 3 * truth[:, None] * [1, 0, 0]).astype(np.float32)
    known = np.full(1000, -1)
    known[[0, 1, 2, 3, 4, 900, 901, 902, 903, 904]] = [0] * 5 + [1] * 5
    prior = Prior(known, ("many", "few"))
    shared = share_out_parts(np.zeros(1000, np.int64), values, known, type_means(values, prior))
    assert np.mean(shared == truth) > 0.99


def test_a_single_known_cell_names_its_part_but_divides_none():
    partition = np.repeat([0, 1, 2], [100, 50, 20])
    known = np.full(170, -1)
    known[[0, 1, 2, 3, 4]] = 0
    known[50] = 1  # among the known cells of type 0
    known[120] = 2  # alone in its part
    known[[155, 156]] = [3, 4]  # two types, of each one cell
    shared = share_out_parts(partition, np.zeros((170, 2), np.float32), known, np.zeros((5, 2), np.float32))
    assert (shared[:100] == 0).all()
    assert (shared[100:150] == 2).all()
    assert len(set(shared[150:])) == 1
    assert shared[150] >= 5  # the data decides


def test_cells_of_none_of_the_types_keep_a_type_from_spreading_and_stay_where_they_are():
    rng = np.random.default_rng(0)
    partition = np.repeat([0, 1, 2], [1000, 200, 200])
    values = rng.normal(0, 0.5, (1400, 3)).astype(np.float32)
    rare = np.arange(1400) < 40
    values[rare, 0] += 3  # in the first part, which the data does not divide
    known = np.full(1400, -1)
    known[[*range(5), 1000]] = 0  # five in the first part, one astray in the second
    known[[*range(100, 130), *range(1001, 1020), 1200]] = 1
    prior = Prior(known, ("rare", "other"))
    shared = share_out_parts(partition, values, known, type_means(values, prior), prior.other)
    assert np.mean((shared == 0) == rare) > 0.99
    assert (
        shared[1000:] == partition[1000:] + 2
    ).all()  # neither joined, for what they are not, nor taken by the stray
    assert set(shared[~rare & (partition == 0)]) <= {0, 2}


def test_cells_of_none_of_the_types_are_told_apart():
    assert describe_known(Prior.of(["A", "other", "", "other", "B"])) == (
        "2 events are known: A 1; B 1. 2 are known to be of none of these (other)"
    )


def test_a_single_known_population_without_others_is_warned_of():
    assert "only known population" in known_alone(Prior.of(["stem cells", "", ""]))[0]
    assert known_alone(Prior.of(["stem cells", "other", ""])) == known_alone(None) == []


def test_known_cells_of_no_population_alone_are_refused(blobs):
    with pytest.raises(InputError, match="names no population, only cells that are other"):
        MoESimVAE().fit(blobs[0], prior=["other"] + [""] * (len(blobs[0]) - 1))


def test_a_label_among_cells_of_another_type_is_not_trusted():
    values = np.concatenate([np.zeros((20, 2)), np.full((20, 2), 5.0)]).astype(np.float32)
    values += np.random.default_rng(0).normal(0, 0.2, values.shape).astype(np.float32)
    known = np.repeat([0, 1], 20)
    known[3] = 1
    trusted = trusted_types(values, known)
    assert trusted[3] == -1
    assert np.delete(trusted, 3).min() >= 0


def test_pairs_of_known_cells_are_as_they_are_known_to_be():
    class Half:
        weights, partition = np.ones(4), None

        def batch(self, cells):
            return np.full((len(cells), len(cells)), 0.5, dtype=np.float32)

    similar = KnownPairs(Half(), Prior(np.array([0, 0, 1, -1, 2, 2]), ("A", "B", "other"))).batch(np.arange(6))
    assert similar[0, 1] == 1
    assert similar[0, 2] == similar[2, 1] == 0
    assert (similar[3] == 0.5).all()
    assert similar[4, 0] == similar[2, 4] == 0  # of none of the types
    assert similar[4, 5] == 0.5  # which does not make them alike


def test_a_cluster_is_called_as_most_of_its_cells():
    clusters, types = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, -1, 0, -1, -1])
    assert name_by_types(clusters, types, ["A", "B"], 2) == ["B", ""]


def test_priors_of_names_leave_missing_ones_unknown():
    prior = Prior.of(["T", None, "", float("nan"), "B"])
    assert prior.known.tolist() == [True, False, False, False, True]
    assert prior.counts() == {"B": 1, "T": 1}


@pytest.fixture(scope="module")
def known_cells(blobs):
    """Ten known cells of each of the first three populations; the fourth is known to nobody."""
    _, populations = blobs
    labels = np.full(len(populations), None, dtype=object)
    for population, name in enumerate("ABC"):
        labels[np.flatnonzero(populations == population)[:10]] = name
    return labels


def test_known_populations_get_their_names_and_the_unknown_one_is_found(blobs, known_cells):
    cells, populations = blobs
    model = MoESimVAE(seed=0).fit(cells, prior=known_cells)
    names = np.array(model.known_as_, dtype=object)[model.labels_ - 1]
    for population, name in enumerate(("A", "B", "C", "")):
        assert np.mean(names[populations == population] == name) > 0.97


def test_a_population_may_be_parted_as_the_user_knows_it(blobs):
    cells, populations = blobs
    bright = cells[:, 2] > 4  # no valley there
    labels = np.full(len(cells), None, dtype=object)
    for half, name in ((populations == 0) & bright, "bright"), ((populations == 0) & ~bright, "dim"):
        labels[np.flatnonzero(half)[:40]] = name
    model = MoESimVAE(seed=0).fit(cells, prior=labels)
    names = np.array(model.known_as_, dtype=object)[model.labels_ - 1]
    assert np.mean(names[(populations == 0) & (cells[:, 2] > 4.2)] == "bright") > 0.85
    assert np.mean(names[(populations == 0) & (cells[:, 2] < 3.8)] == "dim") > 0.85


def test_wrong_labels_do_little_harm(blobs, known_cells):
    cells, populations = blobs
    wrong = known_cells.copy()
    wrong[np.flatnonzero(known_cells == "A")[0]] = "B"
    model = MoESimVAE(seed=0).fit(cells, prior=wrong)
    names = np.array(model.known_as_, dtype=object)[model.labels_ - 1]
    assert np.mean(names[populations == 0] == "A") > 0.97


def test_known_cells_guide_the_projection_of_the_paper_too(blobs, known_cells):
    from cytomoe.settings import Settings

    cells, populations = blobs
    settings = Settings(similarity="umap", steps=300, warm_steps=0)
    model = MoESimVAE(seed=0, settings=settings).fit(cells, prior=known_cells)
    names = np.array(model.known_as_, dtype=object)[model.labels_ - 1]
    assert np.mean(names[populations == 0] == "A") > 0.9


@pytest.fixture(scope="module")
def run_with_prior(tmp_path_factory):
    """Run on an example well of which some cells of some gates are known, and the table that named them."""
    folder = tmp_path_factory.mktemp("prior")
    gates = read_fcs(SAMPLE)[:, "gate"].X.ravel()
    names = pd.Series("", index=range(len(gates)), name="population")
    for gate, name in NAMES.items():
        names.iloc[np.flatnonzero(gates == gate)[:10]] = name
    names.to_csv(folder / "known.csv", index=False)
    arguments = ["--prior", str(folder / "known.csv"), "--gate-channel", "gate", "--reference", "pbmc", "--quiet"]
    assert run(["cluster", SAMPLE, *arguments, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_known_names_are_kept_in_every_output(run_with_prior):
    clusters = pd.read_csv(run_with_prior / "clusters.csv")
    assert {"helpers", "killers", "NK"} <= set(clusters["population"])
    assert "IgM+ B cells" in set(clusters["population"])  # what nobody knew is named after the reference
    assert "helpers" in set(pd.read_csv(run_with_prior / "labels.csv")["population"])
    assert "helpers" in set(anndata.read_h5ad(run_with_prior / "cells.h5ad").obs["population"])
    assert "helpers" in MoESimVAE.load(run_with_prior / "model.cytomoe").names_.populations


def test_gates_are_measured_on_the_cells_that_nobody_knew(run_with_prior):
    evaluation = json.loads((run_with_prior / "evaluation.json").read_text())
    manifest = json.loads((run_with_prior / "run.json").read_text())
    known = sum(manifest["prior"].values())
    assert evaluation["all"]["n_events"] == manifest["events"] - known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prior", "nowhere.csv"], "--prior nowhere.csv: no such file"),
        (["--prior-channel", "gatte"], "--prior-channel gatte"),
        (["--prior", "x.csv", "--prior-channel", "gate"], "--prior and --prior-channel"),
        (["--prior-channel", "gate", "--experts", "3"], "--experts is 3; raise it"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(arguments, message, tmp_path, capsys):
    assert run(["cluster", SAMPLE, *arguments, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err


def test_a_prior_for_other_cells_is_refused(blobs):
    with pytest.raises(InputError, match="3 entries for 1,400 cells"):
        MoESimVAE().fit(blobs[0], prior=["A", "B", ""])
    with pytest.raises(InputError, match="knows no cell"):
        MoESimVAE().fit(blobs[0], prior=[""] * len(blobs[0]))
