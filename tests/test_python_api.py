"""What Python users rely on: a light import, public names, and results under the keys that scanpy expects."""

import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest

import cytomoe
from cytomoe.errors import InputError

SAMPLE = "example_data/example_A01.fcs"
MARKERS = ["CD3", "CD4", "CD7", "CD20", "IgM", "CD14", "CD33", "HLA-DR", "CD123", "CD45"]


@pytest.fixture(scope="module")
def clustered():
    cells = cytomoe.read_fcs(SAMPLE)
    before = cells.X.copy()
    model = cytomoe.cluster(cells, markers=MARKERS, reference="pbmc", seed=1)
    np.testing.assert_array_equal(cells.X, before)
    return cells, model


def test_import_brings_nothing_heavy():
    code = "import sys, cytomoe; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "anndata", "sklearn"} & set(loaded)


def test_every_public_name_is_there():
    for name in cytomoe.__all__:
        assert getattr(cytomoe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'clusters'"):
        _ = cytomoe.clusters


def test_results_stand_under_scverse_keys(clustered):
    cells, model = clustered
    assert isinstance(cells.obs["cytomoe"].dtype, pd.CategoricalDtype)
    assert list(cells.obs["cytomoe"].cat.categories) == [str(k) for k in range(1, model.n_clusters_ + 1)]
    assert cells.obs["cytomoe"].value_counts().index[0] == "1"
    assert cells.obsm["X_moesimvae"].shape == (cells.n_obs, model.settings_.code_size)
    assert "CD4 T cells" in set(cells.obs["cytomoe_population"])
    assert cells.uns["cytomoe"]["markers"] == MARKERS


def test_scanpy_plots_the_result(clustered):
    """Scanpy comes with the peers (`pip install cytomoe[baselines]`), not with cytomoe."""
    scanpy = pytest.importorskip("scanpy")
    cells, model = clustered
    axes = scanpy.pl.embedding(cells, basis="X_moesimvae", color=["cytomoe", "CD3"], show=False)
    assert [ax.get_title() for ax in axes] == ["cytomoe", "CD3"]
    assert len(axes[0].get_legend().get_texts()) == model.n_clusters_
    assert len(axes[0].collections[0].get_offsets()) == cells.n_obs


def test_the_result_can_be_saved_and_read(clustered, tmp_path):
    cells, _ = clustered
    cells.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert (read.obs["cytomoe"] == cells.obs["cytomoe"]).all()


def test_the_model_maps_other_cells(clustered):
    cells, model = clustered
    np.testing.assert_array_equal(model.predict(cells).astype(str), cells.obs["cytomoe"].to_numpy(dtype=str))


def test_transformed_values_are_taken_as_they_are(clustered):
    cells, _ = clustered
    transformed = anndata.AnnData(np.arcsinh(cells[:, MARKERS].X / 5), var=pd.DataFrame(index=MARKERS))
    model = cytomoe.cluster(transformed, seed=1)
    assert model.preprocessor_.pretransformed
    assert abs(model.n_clusters_ - len(cells.obs["cytomoe"].cat.categories)) <= 4


def test_known_cells_keep_their_names(clustered):
    cells, _ = clustered
    again = cells.copy()
    again.obs["known"] = pd.Series(index=again.obs_names, dtype=object)
    gates = again[:, "gate"].X.ravel()
    for gate, name in ((1, "helpers"), (2, "killers")):
        again.obs.iloc[np.flatnonzero(gates == gate)[:20], again.obs.columns.get_loc("known")] = name
    cytomoe.cluster(again, markers=MARKERS, prior="known", seed=1)
    assert {"helpers", "killers"} <= set(again.obs["cytomoe_population"])


def test_wrong_names_are_refused(clustered):
    cells, _ = clustered
    with pytest.raises(InputError, match="CD99"):
        cytomoe.cluster(cells, markers=["CD3", "CD99"])
    with pytest.raises(InputError, match="no such column"):
        cytomoe.cluster(cells, prior="nothing")
    with pytest.raises(InputError, match="tables that ship"):
        cytomoe.cluster(cells, reference="blood")
