"""The forms in which Python users hand over cells: each gives the labels of the plain array, or is refused in words."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cytomoe
from cytomoe import MoESimVAE
from cytomoe.errors import InputError

SAMPLE = "example_data/example_A01.fcs"
MARKERS = ["CD3", "CD4", "CD7", "CD20", "IgM", "CD14", "CD33", "HLA-DR", "CD123", "CD45"]


@pytest.fixture(scope="module")
def raw_cells():
    return cytomoe.read_fcs(SAMPLE)


@pytest.fixture(scope="module")
def raw_model(raw_cells):
    """A model of raw values, which transforms them itself."""
    return cytomoe.cluster(raw_cells.copy(), markers=MARKERS, seed=1)


@pytest.fixture(scope="module")
def transformed(raw_cells, raw_model):
    return raw_model.preprocessor_.expression(raw_cells)


FORMS = {
    "table": lambda x: pd.DataFrame(x, columns=MARKERS),
    "table in another order": lambda x: pd.DataFrame(x, columns=MARKERS).iloc[:, ::-1],
    "table with more": lambda x: pd.DataFrame(x, columns=MARKERS).assign(Time=0.0),
    "list": lambda x: x.tolist(),
    "sparse": sparse.csr_matrix,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_transformed_values_come_in_any_form(raw_model, transformed, form):
    np.testing.assert_array_equal(raw_model.predict(form(transformed)), raw_model.labels_)


def test_a_table_names_the_markers_of_a_fit(transformed):
    model = MoESimVAE(subsample=1000).fit(pd.DataFrame(transformed, columns=MARKERS))
    assert model.preprocessor_.markers == MARKERS
    np.testing.assert_array_equal(model.labels_, MoESimVAE(subsample=1000).fit_predict(transformed))


def test_a_model_without_names_takes_the_columns_by_place(transformed):
    model = MoESimVAE(subsample=1000).fit(transformed)
    np.testing.assert_array_equal(model.predict(pd.DataFrame(transformed, columns=MARKERS)), model.labels_)


def backed(cells, path):
    cells.write_h5ad(path)
    return anndata.read_h5ad(path, backed="r")


def with_raw_layer(cells, _):
    """As scanpy's users keep it: X transformed by themselves, the raw values in a layer."""
    other = cells.copy()
    other.layers["raw"], other.X = other.X.copy(), np.arcsinh(other.X / 5)
    return other


def with_sparse_values(cells, _):
    other = cells.copy()
    other.X = sparse.csr_matrix(other.X)
    return other


@pytest.mark.parametrize("form", [backed, with_raw_layer, with_sparse_values])
def test_raw_values_come_in_any_anndata(raw_model, raw_cells, tmp_path, form):
    other = form(raw_cells, tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(raw_model.predict(other), raw_model.labels_)


def test_raw_values_in_an_array_are_refused(raw_model, raw_cells):
    """They have the right markers, and were mapped to clusters at random."""
    with pytest.raises(InputError, match="arrays and tables must hold transformed values"):
        raw_model.predict(raw_cells[:, MARKERS].X)


def test_generated_raw_cells_are_not_mapped_as_transformed_ones(raw_model):
    with pytest.raises(InputError, match="give raw ones as an AnnData"):
        raw_model.predict(raw_model.sample(1, 500))


def test_masked_values_are_no_numbers(transformed):
    with pytest.raises(InputError, match="not finite"):
        MoESimVAE().fit(np.ma.masked_greater(transformed, 4))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("sample.fcs", "not as str; cytomoe.read_fcs"),
        (pd.DataFrame({"CD3": [1.0], "gate": ["T"]}), "columns that are not numbers: gate"),
        (pd.DataFrame([[1.0, 2.0]], columns=["CD3", "CD3"]), "several channels are called CD3"),
        (pd.DataFrame({"CD3": [1.0]}), "lacks 9 of the 10 markers: CD4, CD7"),
        (np.array([["a"] * 10]), "values that are not numbers"),
        (anndata.AnnData(np.ones((3, 2)), var=pd.DataFrame(index=["A", "A"])), "several channels are called A"),
    ],
)
def test_what_holds_no_cells_is_refused(raw_model, cells, message):
    with pytest.raises(InputError, match=message):
        raw_model.predict(cells)


def test_cluster_asks_for_an_anndata(transformed):
    with pytest.raises(InputError, match="cluster writes into an AnnData, and this is ndarray"):
        cytomoe.cluster(transformed)
