"""The peers find plain populations, repeat themselves, and say what is missing."""

import sys

import numpy as np
import pytest
from sklearn.metrics import homogeneity_score

from cytomoe.benchmarks.baselines import BASELINES, require
from cytomoe.errors import InputError
from cytomoe.metrics import f_measure

PACKAGES = {"FlowSOM": "flowsom", "PhenoGraph": "phenograph", "PARC": "parc"}


@pytest.mark.parametrize("name", ["k-means", "GMM"])
def test_with_the_true_number_each_finds_separate_populations(name, blobs):
    cells, populations = blobs
    labels = BASELINES[name](cells, seed=0, n_clusters=4)
    assert labels.shape == populations.shape
    assert f_measure(populations, labels) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_packages_keep_populations_apart_and_repeat_with_a_seed(name, blobs, tmp_path, monkeypatch, capfd):
    pytest.importorskip(PACKAGES[name])
    monkeypatch.chdir(tmp_path)
    cells, populations = blobs
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    labels = BASELINES[name](cells, seed=3, n_clusters=4)
    assert homogeneity_score(populations, labels) > 0.95  # graphs divide populations, but do not mix them
    np.testing.assert_array_equal(labels, BASELINES[name](cells, seed=3, n_clusters=4))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert capfd.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "parc", None)
    with pytest.raises(InputError, match=r"PARC is not installed.*cytomoe\[baselines\]"):
        require(["k-means", "PARC"])
