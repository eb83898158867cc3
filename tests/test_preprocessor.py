"""The fitted way from raw files to the network's input."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from handmade import FLOW, MASS, make_adata
from hypothesis import given, settings
from hypothesis import strategies as st

from cytomoe.errors import InputError
from cytomoe.preprocessing import Panel, Preprocessor

DATA = os.environ.get("CYTOMOE_DATA")
MARKERS = ["CD19", "CD4", "CD8", "HLA-DR"]
SPILL = {"$SPILLOVER": "3,FITC-A,PE-A,APC-A,1,0.2,0.01,0.05,1,0.1,0,0.02,1"}


def panel(folder: Path, text: str) -> Panel:
    path = folder / "panel.csv"
    path.write_text(text)
    return Panel.read(path)


def same_again(fitted: Preprocessor) -> Preprocessor:
    return Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict())))


def test_mass_values_become_arcsinh_of_a_fifth_clipped_at_0() -> None:
    values = make_adata(MASS).X - 3
    expression = Preprocessor.fit([make_adata(MASS, values)], markers=["CD4"]).expression(make_adata(MASS, values))
    np.testing.assert_allclose(expression[:, 0], np.maximum(np.arcsinh(values[:, 4] / 5), 0), rtol=1e-6)


def test_negative_values_can_be_kept() -> None:
    values = make_adata(MASS).X - 3
    adata = make_adata(MASS, values)
    expression = Preprocessor.fit([adata], markers=["CD4"], clip=False).expression(adata)
    np.testing.assert_allclose(expression[:, 0], np.arcsinh(values[:, 4] / 5), rtol=1e-6)


def test_fluorescence_takes_the_cofactor_150() -> None:
    adata = make_adata(FLOW)
    expression = Preprocessor.fit([adata], markers=["CD4"]).expression(adata)
    np.testing.assert_allclose(expression[:, 0], np.arcsinh(adata.X[:, 1] / 150), rtol=1e-6)


def test_a_cofactor_can_be_given() -> None:
    adata = make_adata(FLOW)
    expression = Preprocessor.fit([adata], markers=["CD4"], cofactor=10).expression(adata)
    np.testing.assert_allclose(expression[:, 0], np.arcsinh(adata.X[:, 1] / 10), rtol=1e-6)


def test_a_panel_gives_names_cofactors_and_transforms(tmp_path: Path) -> None:
    text = "channel,marker,use,cofactor,transform\nNd145Di,T4,yes,2,\nNd146Di,T8,yes,,none\nNd142Di,B19,no,,\n"
    adata = make_adata(MASS)
    fitted = Preprocessor.fit([adata], panel=panel(tmp_path, text))
    assert fitted.markers == ["T4", "T8"]
    np.testing.assert_allclose(fitted.expression(adata)[:, 0], np.arcsinh(adata.X[:, 4] / 2), rtol=1e-6)
    np.testing.assert_array_equal(fitted.expression(adata)[:, 1], adata.X[:, 5])


def test_markers_of_one_transform_are_treated_as_among_others(tmp_path: Path) -> None:
    adata = make_adata(MASS, make_adata(MASS).X - 3)
    alone = Preprocessor.fit([adata], markers=["CD4"])
    mixed = Preprocessor.fit([adata], panel=panel(tmp_path, "channel,transform\nNd145Di,\nNd146Di,none\n"))
    np.testing.assert_array_equal(mixed.expression(adata)[:, :1], alone.expression(adata))


def test_compensation_comes_before_the_transform() -> None:
    adata = make_adata(FLOW, keywords=SPILL)
    expression = Preprocessor.fit([adata], markers=["CD4", "CD19"], clip=False).expression(adata)
    matrix = np.array([[1, 0.2, 0.01], [0.05, 1, 0.1], [0, 0.02, 1]])
    compensated = np.linalg.solve(matrix.T, adata.X[:, 1:4].astype(np.float64).T).T
    np.testing.assert_allclose(expression, np.arcsinh(compensated[:, [0, 2]] / 150), rtol=1e-4, atol=1e-6)


def test_compensation_can_be_switched_off() -> None:
    adata = make_adata(FLOW, keywords=SPILL)
    expression = Preprocessor.fit([adata], markers=["CD4"], compensate="no").expression(adata)
    np.testing.assert_allclose(expression[:, 0], np.arcsinh(adata.X[:, 1] / 150), rtol=1e-6)


def test_the_input_stays_as_it_was() -> None:
    adata = make_adata(FLOW, keywords=SPILL)
    before = adata.X.copy()
    Preprocessor.fit([adata]).transform(adata)
    np.testing.assert_array_equal(adata.X, before)


def test_the_network_input_is_single_precision_between_0_and_1() -> None:
    adata = make_adata(MASS)
    scaled = Preprocessor.fit([adata]).transform(adata)
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_the_scaling_is_fitted_to_all_training_files_and_kept() -> None:
    low, high = make_adata(MASS, seed=1), make_adata(MASS, make_adata(MASS, seed=2).X * 10)
    together = Preprocessor.fit([low, high])
    pooled = np.concatenate([together.expression(low), together.expression(high)])
    np.testing.assert_allclose([s.high for s in together.steps], np.percentile(pooled, 99.9, axis=0), rtol=1e-6)
    assert together.transform(low).max() < 1


@given(
    transform=st.sampled_from(["arcsinh", "logicle", "none"]),
    clip=st.booleans(),
    seed=st.integers(0, 1000),
    scale=st.floats(0.1, 1e3),
)
@settings(max_examples=25)
def test_a_stored_preprocessor_gives_bit_equal_results(transform: Any, clip: bool, seed: int, scale: float) -> None:
    adata = make_adata(FLOW, make_adata(FLOW, seed=seed, events=60).X * scale, keywords=SPILL)
    fitted = Preprocessor.fit([adata], transform=transform, clip=clip)
    stored = same_again(fitted)
    assert stored == fitted
    np.testing.assert_array_equal(stored.transform(adata), fitted.transform(adata))


def test_a_damaged_state_is_refused() -> None:
    state = Preprocessor.fit([make_adata(MASS)]).to_dict()
    del state["steps"]
    with pytest.raises(InputError, match="stored preprocessing is damaged"):
        Preprocessor.from_dict(state)


@pytest.mark.parametrize("transform", ["arcsinh", "logicle", "none"])
def test_generated_values_can_be_given_in_raw_units(transform: Any) -> None:
    adata = make_adata(MASS)
    fitted = Preprocessor.fit([adata], markers=MARKERS, transform=transform)
    raw = fitted.inverse_expression(fitted.expression(adata))
    np.testing.assert_allclose(raw, adata.X[:, 3:7], rtol=1e-3, atol=1e-2)


def test_scaled_values_can_be_given_in_transformed_units() -> None:
    adata = make_adata(MASS)
    fitted = Preprocessor.fit([adata])
    expression = fitted.expression(adata)
    inside = (expression <= np.array([step.high for step in fitted.steps], dtype=np.float32)).all(axis=1)
    back = fitted.inverse_scale(fitted.scale(expression))
    np.testing.assert_allclose(back[inside], expression[inside], rtol=1e-5, atol=1e-6)


def test_a_constant_marker_gives_numbers() -> None:
    values = make_adata(MASS).X
    values[:, 4] = 7
    adata = make_adata(MASS, values)
    assert np.isfinite(Preprocessor.fit([adata]).transform(adata)).all()


def test_values_that_look_transformed_are_refused() -> None:
    adata = make_adata(MASS, np.arcsinh(make_adata(MASS).X / 5))
    with pytest.raises(InputError, match=r"look transformed already: .* --transform none"):
        Preprocessor.fit([adata])


def test_transformed_values_are_taken_as_they_are_when_asked_and_never_compensated() -> None:
    adata = make_adata(FLOW, np.arcsinh(make_adata(FLOW).X / 150), keywords=SPILL)
    expression = Preprocessor.fit([adata], transform="none").expression(adata)
    np.testing.assert_array_equal(expression, adata.X[:, 1:4])


def test_a_model_of_transformed_values_refuses_raw_ones() -> None:
    raw = make_adata(MASS)
    fitted = Preprocessor.fit([make_adata(MASS, np.arcsinh(raw.X / 5))], transform="none")
    with pytest.raises(InputError, match="holds raw values"):
        fitted.expression(raw)


def test_a_model_of_raw_values_refuses_transformed_ones() -> None:
    raw = make_adata(MASS)
    with pytest.raises(InputError, match="look transformed already"):
        Preprocessor.fit([raw]).expression(make_adata(MASS, np.arcsinh(raw.X / 5)))


def without(adata: AnnData, *names: str) -> AnnData:
    return adata[:, [name for name in adata.var_names if name not in names]].copy()


def test_a_file_that_lacks_markers_is_refused_by_name() -> None:
    fitted = Preprocessor.fit([make_adata(MASS)], markers=MARKERS)
    lacking = without(make_adata(MASS, path="b.fcs"), "145Nd_CD4", "174Yb_HLA-DR")
    with pytest.raises(InputError, match=r"b\.fcs lacks 2 of the 4 markers: 145Nd_CD4 \(nearest: .*\), 174Yb_HLA-DR"):
        fitted.expression(lacking)


def test_files_of_one_run_must_share_the_markers() -> None:
    with pytest.raises(InputError, match=r"b\.fcs lacks the marker: 145Nd_CD4"):
        Preprocessor.fit([make_adata(MASS), without(make_adata(MASS, path="b.fcs"), "145Nd_CD4")], markers=["CD4"])


def test_channels_may_stand_in_another_order() -> None:
    adata = make_adata(MASS)
    fitted = Preprocessor.fit([adata])
    np.testing.assert_array_equal(fitted.transform(adata[:, ::-1].copy()), fitted.transform(adata))


def test_an_antigen_on_another_metal_is_found() -> None:
    fitted = Preprocessor.fit([make_adata(MASS)], markers=["CD4", "CD8"])
    moved = make_adata([("Nd146Di", "146Nd_CD4"), ("Nd145Di", "145Nd_CD8")], path="b.fcs")
    assert fitted.locate(moved) == ["146Nd_CD4", "145Nd_CD8"]


def test_a_channel_with_another_antigen_is_not_taken() -> None:
    fitted = Preprocessor.fit([make_adata(MASS)], markers=["CD4"])
    with pytest.raises(InputError, match="its channel Nd145Di carries 145Nd_CD45 here"):
        fitted.locate(make_adata([("Nd145Di", "145Nd_CD45")]))


@pytest.mark.parametrize("antigen", ["", "cd4", "145Nd_CD4a", "Nd145-CD4"])
def test_another_spelling_of_the_antigen_is_taken(antigen: str) -> None:
    fitted = Preprocessor.fit([make_adata(MASS)], markers=["CD4"])
    adata = make_adata([("Nd145Di", antigen), ("Nd146Di", "CD8")])
    assert fitted.locate(adata) == [adata.var_names[0]]


def test_with_a_panel_the_channel_decides(tmp_path: Path) -> None:
    fitted = Preprocessor.fit([make_adata(MASS)], panel=panel(tmp_path, "channel,marker\nNd145Di,CD4\n"))
    assert fitted.locate(make_adata([("Nd145Di", "T helper")])) == ["T helper"]


def test_mass_and_fluorescence_files_are_not_mixed() -> None:
    with pytest.raises(InputError, match=r"a\.fcs is mass cytometry .* but b\.fcs is fluorescence cytometry"):
        Preprocessor.fit([make_adata(MASS, path="a.fcs"), make_adata(FLOW, path="b.fcs")], markers=["CD4"])


def test_no_events_are_refused() -> None:
    with pytest.raises(InputError, match="holds no events"):
        Preprocessor.fit([make_adata(MASS, np.empty((0, len(MASS))))])


def test_an_empty_file_beside_others_is_mapped_to_nothing() -> None:
    empty = make_adata(MASS, np.empty((0, len(MASS))))
    assert Preprocessor.fit([make_adata(MASS), empty], markers=MARKERS).transform(empty).shape == (0, 4)


def test_not_a_number_in_a_marker_is_refused() -> None:
    adata = make_adata(MASS)
    adata.X[3, 4] = np.nan
    with pytest.raises(InputError, match=r"145Nd_CD4 \(1 NaN\)"):
        Preprocessor.fit([adata])


def test_markers_and_panel_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--markers or --panel, not both"):
        Preprocessor.fit([make_adata(MASS)], markers=["CD4"], panel=panel(tmp_path, "channel\nNd145Di\n"))


def test_a_cofactor_without_arcsinh_is_refused() -> None:
    with pytest.raises(InputError, match="no meaning for --transform logicle"):
        Preprocessor.fit([make_adata(MASS)], transform="logicle", cofactor=5)


def test_data_that_came_without_a_file_is_taken() -> None:
    adata = AnnData(make_adata(MASS).X[:, 3:6], var={"names": ["CD19", "CD4", "CD8"]})
    adata.var_names = ["CD19", "CD4", "CD8"]
    assert Preprocessor.fit([adata], markers=["CD4", "CD8"]).transform(adata).shape == (300, 2)


def test_the_user_is_told_what_is_done() -> None:
    assert Preprocessor.fit([make_adata(FLOW, keywords=SPILL)], markers=["CD4", "CD8"]).describe() == [
        "fluorescence cytometry (scatter channel FSC-A)",
        "using 2 markers: CD4, CD8; left out: FSC-A (scatter), CD19 (not chosen), Time (time)",
        "compensation: $SPILLOVER of 3 channels; each file with its own matrix",
        "transform: arcsinh, cofactor 150; values below 0 set to 0",
    ]


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
def test_compensated_logicle_values_equal_flowsoms() -> None:
    from cytomoe.io import read_fcs

    raw = read_fcs(Path(DATA or "", "flow", "mouse_spleen_raw.fcs"))
    theirs = read_fcs(Path(DATA or "", "flow", "mouse_spleen_preprocessed.fcs"))
    fitted = Preprocessor.fit(
        [raw], markers=["NK1.1", "CD3", "CD19", "CD4", "CD8", "TCRb", "TCRyd"], transform="logicle"
    )
    columns = [theirs.var_names.get_loc(name) for name in fitted.locate(theirs)]
    usual = tuple(replace(step, transform=replace(step.transform, linear=0.5)) for step in fitted.steps)
    np.testing.assert_allclose(replace(fitted, steps=usual).expression(raw), theirs.X[:, columns], atol=1e-3)
    assert {step.marker: round(step.transform.linear, 2) for step in fitted.steps}["CD19"] == 0.96
    assert fitted.describe()[-1] == "transform: logicle, top of scale 262144, linear part by the noise of each marker"


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
def test_logicle_finds_the_populations_of_a_real_file() -> None:
    """With half a decade for every marker the noise of CD19 parts the CD4 T cells: F-measure 0.800."""
    import pandas as pd

    from cytomoe import MoESimVAE
    from cytomoe.io import read_fcs
    from cytomoe.metrics import Contingency

    raw = read_fcs(Path(DATA or "", "flow", "mouse_spleen_raw.fcs"))
    gates = pd.read_csv(Path(DATA or "", "flow", "mouse_spleen_gates.csv"), header=None)[0]
    markers = ["CD8", "TCRyd", "CD45", "TCRb", "NK1/1", "CD4", "CD19", "CD3"]
    fitted = Preprocessor.fit([raw], markers=markers, transform="logicle", clip=False)
    labels = MoESimVAE(preprocessor=fitted).fit(raw).labels_
    codes, _ = pd.factorize(gates.where(gates != "Unlabeled"))
    gated = codes >= 0
    assert gated.sum() == 13_671
    table = Contingency.of(codes[gated], labels[gated])
    assert table.f_measure() > 0.96
    assert table.mean_f1() > 0.92


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
def test_the_label_of_a_benchmark_file_is_no_marker() -> None:
    from cytomoe.io import read_fcs

    fitted = Preprocessor.fit([read_fcs(Path(DATA or "", "flow", "Nilsson_rare_notransform.fcs.gz"))])
    assert fitted.instrument == "fluorescence"
    assert len(fitted.markers) == 13
    assert "label" not in fitted.markers
