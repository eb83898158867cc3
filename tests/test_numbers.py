"""Numbers against implementations that share no code with ours: scikit-learn, numpy's solver, published formulas."""

import math

import numpy as np
import pytest
from flowutils.transforms import asinh as gating_ml_asinh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linear_sum_assignment
from sklearn.metrics import f1_score

from cytomoe.io import read_fcs
from cytomoe.metrics import f_measure, mean_f1
from cytomoe.preprocessing import MarkerTransform
from cytomoe.preprocessing.compensation import compensate_in_place, read_spillover

# Gates with cells of no population (""), few clusters so that F1 values tie, and cluster numbers with holes.
labelled = st.integers(2, 120).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(["", "B", "NK", "T", "DC"]), min_size=n, max_size=n).filter(any),
        st.lists(st.sampled_from([1, 2, 5, 9, 40, 41]), min_size=n, max_size=n),
    )
)


def pairs_by_scikit_learn(gates, clusters):
    """F1 of each population with each cluster over the cells that have a gate, and the sizes of the populations."""
    kept = np.array(gates) != ""
    gates, clusters = np.array(gates)[kept], np.array(clusters)[kept]
    populations = np.unique(gates)
    scores = [[f1_score(gates == gate, clusters == cluster) for cluster in np.unique(clusters)] for gate in populations]
    return np.array(scores), np.array([(gates == gate).sum() for gate in populations])


@settings(max_examples=60)
@given(labelled)
def test_f_measure_is_the_best_f1_of_each_population_weighted_by_its_size(labels):
    scores, sizes = pairs_by_scikit_learn(*labels)
    assert f_measure(*labels) == pytest.approx(float(scores.max(axis=1) @ sizes / sizes.sum()), abs=1e-12)


@settings(max_examples=60)
@given(labelled)
def test_mean_f1_is_the_rule_of_weber_and_robinson(labels):
    """Clusters go to populations one to one so that the sum of F1 is largest; unmatched count 0; unweighted mean."""
    scores, _ = pairs_by_scikit_learn(*labels)
    matched = scores[linear_sum_assignment(scores, maximize=True)]
    assert mean_f1(*labels) == pytest.approx(matched.sum() / len(scores), abs=1e-12)


@pytest.fixture(scope="module")
def spleen(data):
    """A real file of fluorescence with its own matrix."""
    return next(
        adata
        for path in sorted([*(data / "flow").glob("*raw*"), *(data / "fcs_zoo").glob("*.fcs")])
        if (adata := read_fcs(path)).n_obs > 100 and read_spillover(adata).status == "usable"
    )


def test_arcsinh_of_a_real_file_is_gating_ml_s_with_the_same_scale(spleen):
    """Gating-ML's arcsinh with M decades and T = cofactor sinh(M ln 10) is arcsinh(x / cofactor) over M ln 10."""
    values = spleen.X[:5000].astype(np.float64)
    decades, cofactor = 4.5, 150.0
    top = cofactor * math.sinh(decades * math.log(10))
    expected = gating_ml_asinh(values, None, t=top, m=decades, a=0) * decades * math.log(10)
    ours = MarkerTransform("arcsinh", cofactor=cofactor).apply(values.astype(np.float32))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def logicle_by_its_equation(value, top, width=0.5, decades=4.5):
    """Root of the biexponential of Moore & Parks (Cytometry A 2012) with A = 0; values below 0 by reflection at 0."""
    w, b = width / decades, decades * math.log(10)
    if value < 0:
        return 2 * w - logicle_by_its_equation(-value, top, width, decades)
    d = brentq(lambda d: 2 * (math.log(d) - math.log(b)) + w * (b + d), 1e-9, b)
    x1 = w
    c_over_a = math.exp(2 * x1 * (b + d))
    f_over_a = math.exp(b * x1) - c_over_a / math.exp(d * x1)
    a = top / (math.exp(b) - f_over_a - c_over_a / math.exp(d))
    c, f = c_over_a * a, f_over_a * a
    return brentq(lambda y: a * math.exp(b * y) - c * math.exp(-d * y) - f - value, w - 1e-9, 3, xtol=1e-13)


def test_logicle_of_a_real_file_is_the_root_of_its_equation(spleen):
    top = 262144.0
    values = np.random.default_rng(0).choice(spleen.X.ravel(), 300).astype(np.float32)
    expected = [4.5 * logicle_by_its_equation(float(value), top) for value in values]
    np.testing.assert_allclose(MarkerTransform("logicle", top=top).apply(values), expected, rtol=1e-5, atol=1e-5)


def test_compensation_of_a_real_file_solves_the_mixing(spleen):
    found = read_spillover(spleen).spillover
    columns = found.positions(spleen)
    ours = spleen.X[:5000].astype(np.float32)
    raw = ours[:, columns].astype(np.float64)
    compensate_in_place(ours, found.matrix, columns)
    np.testing.assert_allclose(ours[:, columns], np.linalg.solve(found.matrix.T, raw.T).T, rtol=1e-4, atol=0.05)
    others = [i for i in range(ours.shape[1]) if i not in columns]
    np.testing.assert_array_equal(ours[:, others], spleen.X[:5000, others])
