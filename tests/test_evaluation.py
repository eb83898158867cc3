"""What an evaluation against gates counts, discards and holds out."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cytomoe.cli.console import print_evaluation
from cytomoe.errors import InputError
from cytomoe.evaluation import evaluate, evaluation_table, holdout_mask
from cytomoe.io.gates import Gates
from cytomoe.metrics import adjusted_rand_index, f_measure, mean_f1, normalized_mutual_information

BLOCK_KEYS = {"f_measure", "mean_f1", "ari", "nmi", "n_events", "n_gated", "clusters_used", "populations", "discarded"}


@pytest.fixture
def labelled():
    """1,000 events: gates a, b, c (rare) and none, clusters that follow them with errors."""
    rng = np.random.default_rng(0)
    names = rng.choice(["a", "b", "c", ""], size=1000, p=[0.5, 0.3, 0.02, 0.18])
    clusters = np.select([names == "a", names == "b", names == "c"], [1, 2, 3], 4)
    wrong = rng.random(1000) < 0.2
    clusters[wrong] = rng.integers(1, 6, np.count_nonzero(wrong))
    return names, clusters


def test_blocks_have_the_contracts_keys(labelled):
    names, clusters = labelled
    evaluation = evaluate(clusters, Gates.from_labels(names))
    assert set(evaluation) == {"min_population", "all", "unique"}
    assert set(evaluation["all"]) == set(evaluation["unique"]) == BLOCK_KEYS
    assert set(evaluation["all"]["populations"][0]) == {
        "gate", "n", "cluster", "precision", "recall", "f1", "most_in", "most_share",
    }  # fmt: skip


@pytest.fixture
def two_in_one():
    """Two gates in cluster 1, a splinter of the smaller one, 5 of its 100 events, in cluster 2."""
    names = np.repeat(["large", "small"], [300, 100])
    clusters = np.ones(400, dtype=int)
    clusters[-5:] = 2
    return evaluate(clusters, Gates.from_labels(names))


def test_a_gate_knows_where_most_of_it_lies(two_in_one):
    large, small = two_in_one["all"]["populations"]
    assert (large["cluster"], large["most_in"], large["most_share"]) == (1, 1, 1.0)
    assert (small["cluster"], small["most_in"], small["most_share"]) == (2, 1, 0.95)


def test_the_terminal_says_where_most_of_a_gate_lies_that_got_a_splinter(two_in_one, capsys):
    print_evaluation(two_in_one)
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("most of its events lie in cluster 1 (95.0 %)") for line in lines[-2:]] == [False, True]


def test_measures_are_those_of_the_gated_events(labelled):
    names, clusters = labelled
    block = evaluate(clusters, Gates.from_labels(names), min_population=1)["all"]
    assert [block["f_measure"], block["mean_f1"], block["ari"], block["nmi"]] == [
        f_measure(names, clusters),
        mean_f1(names, clusters),
        adjusted_rand_index(names, clusters),
        normalized_mutual_information(names, clusters),
    ]
    assert (block["n_events"], block["n_gated"]) == (1000, np.count_nonzero(names != ""))


def test_small_populations_are_discarded_and_named(labelled):
    names, clusters = labelled
    block = evaluate(clusters, Gates.from_labels(names), min_population=30)["all"]
    kept = np.where(names == "c", "", names)
    assert block["f_measure"] == f_measure(kept, clusters)
    assert block["n_gated"] == np.count_nonzero(kept != "")
    assert block["discarded"] == [{"gate": "c", "n": int(np.count_nonzero(names == "c"))}]


def test_populations_come_by_size_with_plain_numbers(labelled):
    names, clusters = labelled
    populations = evaluate(clusters, Gates.from_labels(names), min_population=1)["all"]["populations"]
    assert [population["gate"] for population in populations] == ["a", "b", "c"]
    assert type(populations[0]["cluster"]) is int


def test_evaluation_is_json(labelled):
    names, clusters = labelled
    sample = np.where(np.arange(1000) < 500, "A01", "A02")
    evaluation = evaluate(clusters, Gates.from_labels(names), sample=sample)
    assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation


def test_a_single_gate_is_measured_against_all_other_events(capsys):
    names = np.repeat(["stem", ""], [50, 950])
    clusters = np.repeat([2, 1, 2, 3], [40, 10, 60, 890])
    evaluation = evaluate(clusters, Gates.from_labels(names))
    block = evaluation["all"]
    assert block["populations"] == [
        {"gate": "stem", "n": 50, "cluster": 2, "precision": 0.4, "recall": 0.8, "f1": pytest.approx(80 / 150),
         "most_in": 2, "most_share": 0.8}
    ]  # fmt: skip
    assert block["f_measure"] == block["mean_f1"] == pytest.approx(80 / 150)
    assert (block["n_gated"], block["n_rest"]) == (50, 950)
    assert block["ari"] == pytest.approx(adjusted_rand_index(np.where(names == "stem", 1, 2), clusters))
    assert evaluation_table(evaluation)["counted_on"].tolist() == ["all events", "events in one gate or none"]
    print_evaluation(evaluation)
    assert capsys.readouterr().out.startswith("all events: F-measure 0.533 (weighted)")


def test_a_single_gate_that_holds_every_event_has_no_rest():
    block = evaluate(np.ones(40), Gates.from_labels(np.repeat("all", 40)))["all"]
    assert block["f_measure"] == 1
    assert "n_rest" not in block


def test_unique_recounts_the_populations():
    gates = Gates.from_labels(["a"] * 40 + ["b"] * 40)
    unique = np.arange(80) < 60  # 20 events of b remain
    evaluation = evaluate(np.repeat([1, 2], 40), gates, unique=unique, min_population=30)
    assert [p["gate"] for p in evaluation["all"]["populations"]] == ["a", "b"]
    assert evaluation["unique"]["populations"][0]["n"] == 40
    assert evaluation["unique"]["discarded"] == [{"gate": "b", "n": 20}]
    assert evaluation["unique"]["n_events"] == 60


def test_population_size_is_judged_before_events_are_held_out():
    gates = Gates.from_labels(["a"] * 40 + ["b"] * 20)
    holdout = np.arange(60) % 5 == 0  # 8 events of a, 4 of b
    block = evaluate(np.repeat([1, 2], [40, 20]), gates, holdout=holdout, min_population=30)["all"]
    assert [(p["gate"], p["n"]) for p in block["populations"]] == [("a", 8)]
    assert block["discarded"] == [{"gate": "b", "n": 20}]
    assert block["n_events"] == 12


def test_population_without_held_out_events_is_discarded():
    gates = Gates.from_labels(["a"] * 40 + ["b"] * 40)
    block = evaluate(np.repeat([1, 2], 40), gates, holdout=np.arange(80) < 40)["all"]
    assert block["mean_f1"] == 1.0
    assert block["discarded"] == [{"gate": "b", "n": 40}]


def test_clusters_used_counts_those_of_the_measured_events():
    gates = Gates.from_labels(["a"] * 40 + [""] * 2)
    block = evaluate([1] * 40 + [2, 3], gates, holdout=[True] * 41 + [False])["all"]
    assert block["clusters_used"] == 2


def test_no_population_left_gives_no_numbers():
    evaluation = evaluate([1, 1, 2], Gates.from_labels(["a", "a", "b"]))
    assert evaluation["all"]["f_measure"] is None
    assert evaluation["all"]["n_gated"] == 0
    assert evaluation_table(evaluation).empty


def test_several_samples_are_measured_together_and_apart(labelled):
    names, clusters = labelled
    sample = np.where(np.arange(1000) < 400, "A01", "A02")
    evaluation = evaluate(clusters, Gates.from_labels(names), sample=sample)
    assert list(evaluation["samples"]) == ["A01", "A02"]
    alone = evaluate(clusters[:400], Gates.from_labels(names[:400]))
    assert evaluation["samples"]["A01"] == {name: alone[name] for name in ("all", "unique")}
    assert evaluation["all"] == evaluate(clusters, Gates.from_labels(names))["all"]


def test_one_sample_has_no_list_of_samples(labelled):
    names, clusters = labelled
    assert "samples" not in evaluate(clusters, Gates.from_labels(names), sample=["A01"] * 1000)


def test_table_has_a_row_per_sample_block_and_population(labelled):
    names, clusters = labelled
    sample = np.where(np.arange(1000) < 500, "A01", "A02")
    table = evaluation_table(evaluate(clusters, Gates.from_labels(names), sample=sample))
    assert list(table.columns) == [
        "sample", "counted_on", "gate", "events", "cluster", "precision", "recall", "f1", "most_in", "most_share",
    ]  # fmt: skip
    assert table.groupby(["sample", "counted_on"], sort=False).size().to_dict() == {
        (name, events): 2
        for name in ("all samples", "A01", "A02")
        for events in ("all gated events", "events in one gate")
    }


def test_table_leaves_the_cluster_of_an_unmatched_population_empty():
    gates = Gates.from_labels(["a"] * 40 + ["b"] * 30)
    table = evaluation_table(evaluate([1] * 70, gates))
    assert table.loc[table["gate"] == "b", "cluster"].isna().all()
    assert table.loc[table["gate"] == "a", "cluster"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["unique", "holdout", "sample"])
def test_wrong_length_is_refused(name):
    with pytest.raises(InputError, match=f"'{name}' has shape"):
        evaluate([1, 2], Gates.from_labels(["a", "b"]), **{name: [True]})


def test_gates_of_other_events_are_refused():
    with pytest.raises(InputError, match="3 gates for 2 cluster labels"):
        evaluate([1, 2], Gates.from_labels(["a", "b", "c"]))


@given(st.lists(st.integers(0, 30), min_size=5, max_size=60), st.floats(0.2, 0.8), st.integers(0, 5))
def test_holdout_keeps_rows_of_one_event_on_one_side(event, fraction, seed):
    distinct = set(event)
    assume(0 < round(fraction * len(distinct)) < len(distinct))
    mask = holdout_mask(event, fraction, np.random.default_rng(seed))
    held, kept = ({e for e, out in zip(event, mask, strict=True) if out is side} for side in (np.True_, np.False_))
    assert not held & kept
    assert len(held) == round(fraction * len(distinct))


def test_holdout_follows_the_generator():
    def draw(seed):
        return holdout_mask(np.arange(100), 0.2, np.random.default_rng(seed)).tolist()

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 20.0, float("nan")])
def test_holdout_must_be_a_share(fraction):
    with pytest.raises(InputError, match="--holdout"):
        holdout_mask(np.arange(100), fraction, np.random.default_rng(0))


def test_holdout_of_too_few_events_is_refused():
    with pytest.raises(InputError, match="2 events can't be split"):
        holdout_mask(np.arange(2), 0.1, np.random.default_rng(0))


def test_smallest_population_must_be_positive():
    with pytest.raises(InputError, match="--min-population 0"):
        evaluate([1], Gates.from_labels(["a"]), min_population=0)
