"""What Python users rely on: a light import, public names, and results under the keys that scanpy expects."""

import inspect
import subprocess
import sys
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from handmade import FLOW, make_adata
from sklearn.base import clone

import cytomoe
from cytomoe import MoESimVAE
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


@pytest.mark.parametrize(
    "markers", ["CD3, CD4,CD20", pd.Index(["CD3", "CD4", "CD20"]), np.array(["CD3", "CD4", "CD20"])]
)
def test_markers_come_as_text_or_any_list(clustered, markers):
    model = cytomoe.cluster(clustered[0].copy(), markers=markers, subsample=1000)
    assert model.preprocessor_.markers == ["CD3", "CD4", "CD20"]


def test_markers_that_measure_no_protein_are_warned_of_where_cluster_is_called(clustered):
    with pytest.warns(UserWarning, match=r"DNA-1 \(DNA\); leave them out of markers \(") as told:
        cytomoe.cluster(clustered[0].copy(), markers=["CD3", "CD4", "DNA-1"], subsample=500)
    assert told[0].filename == __file__


def test_a_cofactor_of_the_other_instrument_is_warned_of_in_words_of_python(clustered):
    with pytest.warns(UserWarning, match="the cofactor 150 on mass cytometry .*; leave it out for 5"):
        cytomoe.cluster(clustered[0].copy(), markers=["CD3", "CD4"], cofactor=150, subsample=500)


def test_an_unknown_parameter_is_named(clustered):
    with pytest.raises(TypeError, match=r"cluster\(\) has no parameter n_clusters; .* it takes experts, resolution"):
        cytomoe.cluster(clustered[0].copy(), n_clusters=5)


def test_a_copy_of_the_model_can_be_changed(clustered):
    """The model of cluster() held its settings whole, so that a resolution set afterwards did nothing."""
    changed = clone(clustered[1]).set_params(resolution=0.5, preprocessor=None)
    values = clustered[1].preprocessor_.expression(clustered[0])
    assert changed.fit(values).settings_.resolution == 0.5


def test_settings_that_contradict_are_refused(clustered):
    model = clone(clustered[1]).set_params(settings=clustered[1].settings_, resolution=2)
    with pytest.raises(InputError, match="resolution would change the settings that are given whole"):
        model.fit(np.ones((10, 2)))


@pytest.fixture(scope="module")
def spilled():
    """Fluorescence as read from a file, with a matrix that mixes two channels."""
    matrix = "2,FITC-A,PE-A,1,0.5,0.5,1"
    rng = np.random.default_rng(0)
    values = rng.lognormal(9, 2, (500, len(FLOW)))
    return make_adata(FLOW, np.where(rng.random(values.shape) < 0.5, values / 1000, values), keywords={"SPILL": matrix})


def test_cluster_compensates_with_the_matrix_of_the_file(spilled):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = cytomoe.cluster(spilled.copy())
        raw = cytomoe.cluster(spilled.copy(), compensate="no")
    assert model.preprocessor_.compensate
    assert not raw.preprocessor_.compensate


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a[:, ["CD4", "CD19"]].copy(), "SPILL names channels that the file lacks: PE-A"),
        (lambda a: anndata.concat([a, a], index_unique="-", merge="same"), "no spillover matrix"),
    ],
    ids=["channels left out", "record lost"],
)
def test_a_matrix_that_can_not_be_used_is_warned_of(spilled, change, reason):
    with pytest.warns(UserWarning, match=f"not compensated: .*{reason}"):
        cytomoe.cluster(change(spilled))
    with pytest.warns(UserWarning, match=f"not compensated: .*{reason}"):
        MoESimVAE().fit(change(spilled))


def test_a_file_that_never_had_a_matrix_is_not_warned_of(spilled):
    cells = make_adata(FLOW, spilled.X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cytomoe.cluster(cells)


def test_what_was_done_to_the_values_is_written_down(spilled):
    cells = spilled.copy()
    cytomoe.cluster(cells, transform="logicle")
    lines = list(cells.uns["cytomoe"]["preprocessing"])
    assert "compensation: SPILL of 2 channels; each file with its own matrix" in lines
    assert any(line.startswith("transform: logicle") for line in lines)


@pytest.mark.parametrize(("largest", "lowest", "cofactor"), [(159_500, 0, 150), (9_000, -315, 150), (9_000, -1, 5)])
def test_values_tell_the_instrument_where_nothing_else_does(largest, lowest, cofactor):
    """An AnnData with the markers' names alone was taken for mass cytometry whatever its values."""
    values = np.random.default_rng(0).lognormal(3, 1, (400, 3)).clip(0, 5000)
    values[0], values[1] = largest, lowest
    model = cytomoe.cluster(anndata.AnnData(values, var=pd.DataFrame(index=["CD3", "CD4", "CD8"])), compensate="no")
    assert {step.transform.cofactor for step in model.preprocessor_.steps} == {cofactor}


def with_nan(cells):
    cells.X[3, cells.var_names.get_loc("CD3")] = np.nan
    return cells


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda cells: cytomoe.cluster(with_nan(cells)),
            "nan='drop' leaves these events out .* channels out with markers",
        ),
        (lambda cells: MoESimVAE().fit(with_nan(cells)), "nan='drop' leaves these events out"),
        (lambda cells: cytomoe.cluster(cells, cofactor=3, transform="logicle"), "no meaning for transform='logicle'"),
        (lambda cells: cytomoe.cluster(cells, compensate="yes"), "leave out compensate='yes'"),
        (lambda cells: cytomoe.cluster(cells, transform="none"), "leave out transform='none'"),
        (lambda cells: cytomoe.cluster(cells, markers=""), "^markers is empty; give it at least one name"),
        (lambda cells: cytomoe.cluster(cells, markers=[""]), "^markers is empty"),
        (lambda cells: MoESimVAE().fit(100 * cells.X), r"must hold transformed values, such as np\.arcsinh\(x / 5\)"),
    ],
)
def test_errors_speak_of_parameters_not_of_options(clustered, call, words):
    with pytest.raises(InputError, match=words) as caught:
        call(clustered[0].copy())
    assert "--" not in str(caught.value)


def test_a_model_says_of_transformed_values_what_can_be_done(clustered):
    """Neither predict nor the command of that name can take values as they are: the model transforms them."""
    cells = clustered[0][:, MARKERS].copy()
    cells.X = np.arcsinh(cells.X / 5)
    with pytest.raises(InputError, match=r"look transformed already: .*; give the raw file: the model transforms it$"):
        clustered[1].predict(cells)


def test_the_signature_of_cluster_is_shown():
    parameters = inspect.signature(cytomoe.cluster).parameters
    assert {"adata", "markers", "transform", "compensate"} <= set(parameters)
    assert "Cluster the cells" in cytomoe.cluster.__doc__


@pytest.mark.parametrize(("similarity", "clips"), [("consensus", True), ("valleys", False)])
def test_noise_is_clipped_as_the_similarity_asks(clustered, similarity, clips):
    model = cytomoe.cluster(clustered[0].copy(), markers=["CD3", "CD4"], similarity=similarity, subsample=500)
    assert model.preprocessor_.clip is clips


def test_a_model_is_loaded_from_the_folder_of_its_run(clustered, tmp_path):
    clustered[1].save(tmp_path / "model.cytomoe")
    assert MoESimVAE.load(tmp_path).n_clusters_ == clustered[1].n_clusters_
