"""Models trained as one stack: the same as one by one, each by its own data, and none hurt by another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from handmade import make_adata

from cytomoe.estimator import MoESimVAE
from cytomoe.preparation import prepare
from cytomoe.preprocessing import Preprocessor
from cytomoe.settings import PAPER, Settings
from cytomoe.training import stacked
from cytomoe.training.stacked import Lesson, train_stacked

SETTINGS = Settings(partitions=4, warm_steps=60, steps=40)
CPU = torch.device("cpu")


def expression(seed, n=600, populations=4):
    rng = np.random.default_rng(seed)
    centres = rng.choice([0.2, 3.5], (populations, 6)) + np.eye(populations, 6)
    return (centres[rng.integers(0, populations, n)] + rng.normal(0, 0.25, (n, 6))).astype(np.float32)


def prepared(seed, settings=SETTINGS, n=600):
    values = expression(seed, n)
    adata = make_adata([(name, "") for name in "abcdef"], values)
    preprocessor = Preprocessor.fit([adata], markers=list("abcdef"), transform="none", compensate="no")
    return prepare(values, preprocessor, settings, seed=seed)


def lesson(one):
    return Lesson(one.preprocessor.scale(one.training), one.similarity, one.rng)


def models(seeds, settings=SETTINGS):
    """Models of the same cells, trained one by one and stacked."""
    alone = [MoESimVAE(settings=settings, seed=seed).fit_prepared(prepared(seed, settings)) for seed in seeds]
    begun = [prepared(seed, settings) for seed in seeds]
    trained = train_stacked([lesson(one) for one in begun], settings, device=CPU)
    together = [MoESimVAE(settings=settings).adopt(one, done) for one, done in zip(begun, trained, strict=True)]
    return alone, together


def test_a_stack_gives_what_training_one_by_one_gives():
    for alone, together in zip(*models(range(5)), strict=True):
        assert alone.n_clusters_ == together.n_clusters_
        assert (alone.labels_ == together.labels_).mean() > 0.99
        ours, theirs = alone.history_.records, together.history_.records
        assert [record["step"] for record in ours] == [record["step"] for record in theirs]
        for name in ("reconstruction", "similarity"):
            assert ours[-1][name] == pytest.approx(theirs[-1][name], rel=1e-3)


def test_first_steps_are_equal_but_for_rounding():
    """Before rounding has grown: initial weights, batches, noise, normalisation, clipping and Adam are the same."""
    settings = replace(SETTINGS, warm_steps=2, steps=2)
    for alone, together in zip(*models(range(3), settings), strict=True):
        for (name, ours), theirs in zip(
            alone.network_.state_dict().items(), together.network_.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_every_loss_can_be_stacked():
    settings = replace(SETTINGS, coef_kl=0.02, coef_depict=0.01, one_cycle=False, clip_gradient=0.0)
    for alone, together in zip(*models(range(2), settings), strict=True):
        assert together.history_.records[-1].keys() == alone.history_.records[-1].keys()
        assert together.history_.records[-1]["kl"] == pytest.approx(alone.history_.records[-1]["kl"], rel=0.5)


def test_the_papers_networks_can_be_stacked(monkeypatch):
    monkeypatch.setattr(stacked, "collapse", lambda *_: None)  # which twenty steps can't avoid
    settings = replace(PAPER, similarity="consensus", metric="euclidean", steps=20)
    begun = [prepared(seed, settings) for seed in range(2)]
    results = train_stacked([lesson(one) for one in begun], settings, device=CPU)
    assert [len(result.history.records) for result in results] == [20, 20]


def test_wells_of_different_shape_are_stacked_apart(monkeypatch):
    groups = []
    train_group = stacked._train_group
    monkeypatch.setattr(stacked, "_train_group", lambda ls, *rest: groups.append(len(ls)) or train_group(ls, *rest))
    begun = [prepared(0), prepared(1, n=100), prepared(2)]
    results = train_stacked([lesson(one) for one in begun], SETTINGS, device=CPU)
    assert groups == [2, 1]
    labels = [MoESimVAE(settings=SETTINGS).adopt(*pair).labels_ for pair in zip(begun, results, strict=True)]
    assert [len(found) for found in labels] == [600, 100, 600]


def test_a_model_that_collapses_is_trained_again_alone(monkeypatch):
    collapse, asked = stacked.collapse, []

    def collapsed_first(*arguments):
        asked.append(1)
        return "all in one" if len(asked) == 2 else collapse(*arguments)

    monkeypatch.setattr(stacked, "collapse", collapsed_first)
    results = train_stacked([lesson(prepared(seed)) for seed in range(3)], SETTINGS, device=CPU)
    assert [len(result.notes) for result in results] == [0, 1, 0]
    assert results[1].settings.learning_rate < SETTINGS.learning_rate


def test_values_that_are_no_numbers_end_one_model_only():
    begun = [lesson(prepared(seed)) for seed in range(3)]
    begun[1].scaled[:] = np.nan
    good, bad, other = train_stacked(begun, SETTINGS, device=CPU)
    assert isinstance(bad, Exception)
    assert "collapsed" in str(bad)
    assert good.network.n_experts == other.network.n_experts == SETTINGS.experts
