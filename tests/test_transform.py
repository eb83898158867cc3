"""Value transforms, their inverses, scaling, and the signs of values that were transformed before."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from handmade import FLOW, MASS, make_adata
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytomoe.errors import InputError
from cytomoe.preprocessing import MarkerTransform, looks_transformed
from cytomoe.preprocessing.scaling import fit_limits, scale, unscale
from cytomoe.preprocessing.transform import linear_values, logicle_linear

DATA = os.environ.get("CYTOMOE_DATA")
raw_values = hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32))


@given(raw_values, st.floats(0.5, 1000))
def test_arcsinh_is_monotone(values: np.ndarray, cofactor: float) -> None:
    transformed = MarkerTransform("arcsinh", cofactor=cofactor).apply(np.sort(values))
    assert (np.diff(transformed) >= 0).all()


@given(raw_values, st.floats(0.5, 1000))
def test_arcsinh_is_undone(values: np.ndarray, cofactor: float) -> None:
    transform = MarkerTransform("arcsinh", cofactor=cofactor)
    np.testing.assert_allclose(transform.invert(transform.apply(values)), values, rtol=1e-5, atol=1e-5 * cofactor)


@given(raw_values, st.floats(1e3, 1e7))
def test_logicle_is_undone(values: np.ndarray, top: float) -> None:
    transform = MarkerTransform("logicle", top=top)
    np.testing.assert_allclose(transform.invert(transform.apply(values)), values, rtol=1e-4, atol=1e-6 * top)


def test_arcsinh_divides_by_the_cofactor() -> None:
    transformed = MarkerTransform("arcsinh", cofactor=5).apply(np.array([0, 5, 50], dtype=np.float32))
    np.testing.assert_allclose(transformed, [0, np.log(1 + np.sqrt(2)), np.log(10 + np.sqrt(101))], rtol=1e-6)


def test_logicle_puts_zero_and_the_top_where_the_standard_does() -> None:
    # Gating-ML 2.0: with T, W = 0.5, M = 4.5, A = 0, zero lies at W / M of the scale and T at its end.
    transformed = MarkerTransform("logicle", top=262144).apply(np.array([0, 262144], dtype=np.float32))
    np.testing.assert_allclose(transformed, [0.5, 4.5], rtol=1e-6)


def test_the_linear_part_of_logicle_is_as_wide_as_the_noise():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 300, 5000), rng.normal(20000, 3000, 1000), [np.nan]])
    reach = -np.nanquantile(values[values < 0], 0.05)
    linear = logicle_linear(values, 262144)
    assert linear == pytest.approx((4.5 - np.log10(262144 / reach)) / 2)
    noise = MarkerTransform("logicle", top=262144, linear=linear).apply(rng.normal(0, 300, 50_000))
    dip = np.histogram(noise, bins=np.linspace(noise.mean() - noise.std(), noise.mean() + noise.std(), 8))[0]
    assert dip[3] == pytest.approx(dip.max(), rel=0.05)  # one peak, where W = 0.5 shows two
    assert logicle_linear(np.abs(values), 262144) == 0.5
    assert logicle_linear(np.full(100, -1e9), 262144) == 2.25
    with pytest.raises(InputError, match=r"0 to 2\.25 decades"):
        MarkerTransform("logicle", top=262144, linear=3)


def test_transforms_give_single_precision() -> None:
    values = np.array([1.0, 2.0])
    transforms = [MarkerTransform("arcsinh", cofactor=5), MarkerTransform("logicle", top=100), MarkerTransform("none")]
    assert {t.apply(values).dtype for t in transforms} == {np.dtype(np.float32)}


@pytest.mark.parametrize("cofactor", [None, 0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf")])
def test_a_cofactor_must_be_within_reason(cofactor: float | None) -> None:
    with pytest.raises(InputError, match=r"is not a number from 0\.001 to 1,000,000"):
        MarkerTransform("arcsinh", cofactor=cofactor)


def test_a_logarithmic_amplifier_is_undone() -> None:
    adata = make_adata([("FL1-H", "CD4")], [[0], [256], [1024]], log="4,1", datatype="I", range=1024.0)
    np.testing.assert_allclose(linear_values(adata, [0])[:, 0], [1, 10, 10_000], rtol=1e-4)


def test_a_wrong_offset_of_zero_means_one() -> None:
    adata = make_adata([("FL1-H", "CD4")], [[0]], log="4,0", datatype="I", range=1024.0)
    assert linear_values(adata, [0])[0, 0] == 1


def test_float_data_is_linear_whatever_its_keyword_says() -> None:
    adata = make_adata([("Nd145Di", "CD4")], [[1036]], log="5.58,0.03", datatype="F")
    assert linear_values(adata, [0])[0, 0] == 1036


def test_values_that_are_no_numbers_are_refused_with_their_counts() -> None:
    values = np.ones((5, 5))
    values[:2, 1], values[0, 3] = np.nan, np.inf
    adata = make_adata(FLOW, values)
    with pytest.raises(InputError, match=r"hand\.fcs .*CD4 \(2 NaN\), CD19 \(1 infinite\)"):
        linear_values(adata, [1, 2, 3])


def test_numbers_beyond_single_precision_are_refused() -> None:
    adata = make_adata(FLOW, np.ones((5, 5)))
    adata.X = adata.X.astype(np.float64)
    adata.X[0, 1] = 1e300
    with pytest.raises(InputError, match=r"CD4 \(1 infinite\)"):
        linear_values(adata, [1])


def test_no_number_in_an_unused_channel_does_no_harm() -> None:
    values = np.ones((5, 5))
    values[:, 4] = np.nan
    assert linear_values(make_adata(FLOW, values), [1, 2]).shape == (5, 2)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(-5, 10, width=32)))
def test_scaled_values_lie_between_0_and_1(expression: np.ndarray) -> None:
    limits = np.array([fit_limits(expression[:, i], from_zero=False) for i in range(3)], dtype=np.float32)
    scaled = scale(expression, limits[:, 0], limits[:, 1])
    assert np.isfinite(scaled).all()
    assert scaled.min() >= 0
    assert scaled.max() <= 1


def test_scaling_ends_at_the_highest_permille() -> None:
    values = np.arange(10_001, dtype=np.float32)
    assert fit_limits(values, from_zero=True) == (0.0, 9990.0)
    assert fit_limits(values, from_zero=False) == (10.0, 9990.0)


def test_a_marker_of_very_few_events_keeps_them() -> None:
    values = np.zeros(10_000, dtype=np.float32)
    values[0] = 3
    assert fit_limits(values, from_zero=True) == (0.0, 3.0)


def test_a_constant_marker_becomes_zero() -> None:
    expression = np.full((4, 1), 2, dtype=np.float32)
    low, high = fit_limits(expression[:, 0], from_zero=False)
    scaled = scale(expression, np.array([low], np.float32), np.array([high], np.float32))
    np.testing.assert_array_equal(scaled, np.zeros((4, 1)))


def test_unscaling_undoes_scaling_within_the_limits() -> None:
    expression = np.linspace(1, 3, 9, dtype=np.float32)[:, None]
    low, high = np.array([1], np.float32), np.array([3], np.float32)
    np.testing.assert_allclose(unscale(scale(expression, low, high), low, high), expression, rtol=1e-6)


def raw_mass(events: int = 300) -> np.ndarray:
    return make_adata(MASS, events=events).X


@pytest.mark.parametrize(
    "transform",
    [
        lambda x: np.arcsinh(x / 5),
        lambda x: np.log10(1 + x),
        lambda x: MarkerTransform("logicle", top=262144).apply(x),
        lambda x: np.clip(np.arcsinh(x / 5) / 8, 0, 1),
    ],
)
def test_transformed_values_are_recognised(transform) -> None:  # type: ignore[no-untyped-def]
    assert looks_transformed(make_adata(MASS, transform(raw_mass())), ["142Nd_CD19"])


def test_raw_values_are_not_taken_for_transformed() -> None:
    assert looks_transformed(make_adata(MASS, raw_mass()), ["142Nd_CD19"]) is None


def test_one_dim_marker_does_not_make_a_file_look_transformed() -> None:
    values = raw_mass()
    values[:, 3] = np.minimum(values[:, 3], 3)
    assert looks_transformed(make_adata(MASS, values), ["142Nd_CD19"]) is None


def test_a_few_small_values_are_not_judged() -> None:
    assert looks_transformed(make_adata(MASS, np.ones((20, len(MASS)))), ["142Nd_CD19"]) is None


def test_raw_values_of_an_instrument_with_a_small_scale_are_not_taken_for_transformed() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 0.4, (5_000, len(FLOW)))
    values[0] = 8.5  # the tail that raw values have
    assert looks_transformed(make_adata(FLOW, values), ["CD4"]) is None


def test_what_flowcore_noted_is_believed() -> None:
    keywords = {"TRANSFORMATION": "custom", "$P2N": "FITC-A", "FLOWCORE_$P2RMAX": "4.5"}
    assert looks_transformed(make_adata(FLOW, keywords=keywords), ["CD4"]) == (
        "the file says TRANSFORMATION custom, and that CD4 reaches 4.5 on a scale to 262144"
    )


def test_what_flowcore_notes_in_raw_files_is_no_sign() -> None:
    keywords = {"TRANSFORMATION": "applied", "$P2N": "FITC-A", "FLOWCORE_$P2RMAX": "262144"}
    assert looks_transformed(make_adata(FLOW, keywords=keywords), ["CD4"]) is None


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
def test_no_raw_population_file_is_taken_for_transformed() -> None:
    from cytomoe.io import read_fcs

    files = sorted(Path(DATA or "", "bodenmiller").glob("*.fcs"))
    assert files
    assert [f.name for f in files if looks_transformed(read_fcs(f), ["IgM"])] == []


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
@pytest.mark.parametrize(
    ("name", "transformed"), [("mouse_spleen_raw.fcs", False), ("mouse_spleen_preprocessed.fcs", True)]
)
def test_the_two_states_of_the_mouse_spleen_file_are_told_apart(name: str, transformed: bool) -> None:
    from cytomoe.io import read_fcs

    adata = read_fcs(Path(DATA or "", "flow", name))
    assert bool(looks_transformed(adata, ["CD3", "CD19"])) == transformed
    adata.uns["fcs"]["keywords"] = {}
    assert bool(looks_transformed(adata, ["CD3", "CD19"])) == transformed
