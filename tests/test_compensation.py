"""Reading spillover matrices, deciding on them, and compensating with them."""

from __future__ import annotations

import numpy as np
import pytest
from flowutils.compensate import inverse_compensate
from handmade import FLOW, MASS, make_adata
from hypothesis import given
from hypothesis import strategies as st

from cytomoe.errors import InputError
from cytomoe.preprocessing.compensation import (
    Spillover,
    compensate_in_place,
    plan_compensation,
    read_spillover,
    spillover_for,
)

MATRIX = "3,FITC-A,PE-A,APC-A,1,0.2,0.01,0.05,1,0.1,0,0.02,1"
IDENTITY = "2,FITC-A,PE-A,1,0,0,1"


def flow(text: str | None = MATRIX, keyword: str = "$SPILLOVER", path: str = "hand.fcs"):  # type: ignore[no-untyped-def]
    return make_adata(FLOW, keywords={} if text is None else {keyword: text}, path=path)


@pytest.mark.parametrize("keyword", ["$SPILLOVER", "SPILL", "$COMP"])
def test_a_matrix_is_read_from_any_of_its_keywords(keyword: str) -> None:
    report = read_spillover(flow(keyword=keyword))
    assert report.status == "usable"
    assert report.spillover == Spillover(
        ("FITC-A", "PE-A", "APC-A"), np.array([[1, 0.2, 0.01], [0.05, 1, 0.1], [0, 0.02, 1]])
    )


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (None, "absent", "the file holds no spillover matrix"),
        ("2,FITC-A,PE-A", "unusable", "lists 2 channels but no values"),
        ("2,FITC-A,PE-A,1,0,0", "unusable", "has 3 values for 2 channels, not 4"),
        ("2,FITC-A,PE-A,1,x,0,1", "unusable", "holds values that are not numbers"),
        ("2,FITC-A,PE-A,1,nan,0,1", "unusable", "holds values that are not finite"),
        ("2,FITC-A,XX,1,0.1,0.2,1", "unusable", "names channels that the file lacks: XX"),
        ("2,FITC-A,FITC-A,1,0.1,0.2,1", "unusable", "names a channel twice"),
        ("2,FITC-A,PE-A,1,1,1,1", "unusable", "can't be inverted"),
        ("two,FITC-A", "unusable", "does not start with the number"),
        ("9,FITC-A", "unusable", "does not start with the number"),
        (IDENTITY, "identity", "is the identity"),
    ],
)
def test_a_matrix_that_does_not_serve_is_named(text: str | None, status: str, reason: str) -> None:
    report = read_spillover(flow(text))
    assert report.status == status
    assert reason in report.reason
    assert report.spillover is None


def test_a_usable_matrix_goes_before_an_unusable_one() -> None:
    adata = make_adata(FLOW, keywords={"$SPILLOVER": "3,FITC-A,PE-A,APC-A", "SPILL": MATRIX})
    assert read_spillover(adata).status == "usable"


def test_compensation_solves_the_mixing_by_hand() -> None:
    spillover = np.array([[1, 0.2], [0.05, 1]])
    true = np.array([[100, 0], [0, 200], [30, 40]], dtype=np.float64)
    mixed = np.array([[100, 20], [10, 200], [30 + 0.05 * 40, 40 + 0.2 * 30]], dtype=np.float32)
    compensate_in_place(mixed, spillover, [0, 1])
    np.testing.assert_allclose(mixed, true, atol=1e-4)


@given(st.permutations([0, 1, 2]), st.integers(0, 2**32 - 1))
def test_compensation_undoes_the_mixing_in_any_column_order(columns: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    spillover = np.eye(3) + rng.uniform(0, 0.25, (3, 3)) * (1 - np.eye(3))
    true = rng.lognormal(5, 2, (40, 4))
    mixed = inverse_compensate(true, spillover, columns).astype(np.float32)
    compensate_in_place(mixed, spillover, columns)
    np.testing.assert_allclose(mixed, true, rtol=1e-3, atol=1e-4 * true.max())


def test_compensating_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    spillover = np.array([[1, 0.2], [0.05, 1]])
    whole = np.random.default_rng(0).lognormal(5, 2, (100, 2)).astype(np.float32)
    chunked = whole.copy()
    compensate_in_place(whole, spillover, [0, 1])
    monkeypatch.setattr("cytomoe.preprocessing.compensation._CHUNK", 7)
    compensate_in_place(chunked, spillover, [0, 1])
    np.testing.assert_array_equal(whole, chunked)


def test_fluorescence_with_a_matrix_is_compensated() -> None:
    plan = plan_compensation([flow()], "auto", "fluorescence", transformed=False)
    assert (plan.apply, plan.reason) == (True, "$SPILLOVER of 3 channels")


@pytest.mark.parametrize(
    ("mode", "instrument", "transformed", "reason"),
    [
        ("no", "fluorescence", False, "switched off"),
        ("auto", "mass", False, "mass cytometry"),
        ("auto", "fluorescence", True, "transformed already"),
    ],
)
def test_what_is_not_compensated_says_why(mode, instrument, transformed, reason) -> None:  # type: ignore[no-untyped-def]
    plan = plan_compensation([flow()], mode, instrument, transformed)
    assert not plan.apply
    assert reason in plan.reason


@pytest.mark.parametrize("text", [None, "2,FITC-A,PE-A", IDENTITY])
def test_auto_leaves_a_file_without_a_useful_matrix_alone(text: str | None) -> None:
    assert not plan_compensation([flow(text)], "auto", "fluorescence", transformed=False).apply


def test_insisting_without_a_matrix_is_refused() -> None:
    with pytest.raises(InputError, match=r"hand\.fcs can't be compensated: \$SPILLOVER lists 2 channels but no values"):
        plan_compensation([flow("2,FITC-A,PE-A")], "yes", "fluorescence", transformed=False)


def test_insisting_on_transformed_values_is_refused() -> None:
    with pytest.raises(InputError, match="only raw values can be compensated"):
        plan_compensation([flow()], "yes", "fluorescence", transformed=True)


def test_insisting_compensates_mass_data_that_has_a_matrix() -> None:
    adata = make_adata(MASS, keywords={"$SPILLOVER": "2,Nd145Di,Nd146Di,1,0.01,0.02,1"})
    assert plan_compensation([adata], "yes", "mass", transformed=False).apply


def test_a_file_is_compensated_with_its_own_matrix() -> None:
    stored = read_spillover(flow()).spillover
    own = spillover_for(flow("2,FITC-A,PE-A,1,0.5,0,1"), stored)
    assert own is not None
    assert own.channels == ("FITC-A", "PE-A")


def test_a_file_whose_own_matrix_is_the_identity_is_left_alone() -> None:
    assert spillover_for(flow(IDENTITY), read_spillover(flow()).spillover) is None


def test_a_file_without_a_matrix_takes_the_stored_one() -> None:
    stored = read_spillover(flow()).spillover
    assert spillover_for(flow(None), stored) == stored


def test_the_stored_matrix_is_not_applied_to_other_channels() -> None:
    stored = Spillover(("FITC-A", "BV421-A"), np.array([[1, 0.1], [0, 1]]))
    with pytest.raises(InputError, match="lacks channels of the stored matrix: BV421-A"):
        spillover_for(flow(None), stored)
