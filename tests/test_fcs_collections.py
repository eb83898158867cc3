"""Collections of real, odd and damaged files: right numbers or a refusal, never wrong ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cytomoe.errors import FCSError
from cytomoe.io import open_fcs, read_fcs

DATA = Path(os.environ.get("CYTOMOE_DATA", "/nonexistent"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="CYTOMOE_DATA does not name a folder of real data")

# Both readers behind expected.json swallow $P6N after the empty $P3S and $P4S of these files.
SWALLOWED = {"0877408774.B08": (5, "FL1-A"), "0877408774.F06": (5, "FL1-A")}
# Byte orders other than little- and big-endian are refused.
REFUSED_VARIANTS = {"v33_byteord3412"}
# Damage that leaves a legal file behind: nothing in it tells that the values are not meant.
UNDETECTABLE = {"f31_57_byteord_swapped.fcs", "f31_65_data_zeroed.fcs"}
MOST_SECONDS = 5.0
MOST_BYTES = 1 << 30


def names_of(folder: str) -> list[str]:
    root = DATA / folder
    return sorted(path.name for path in root.iterdir() if path.suffix != ".json") if root.is_dir() else []


def values_or_none(path: Path) -> np.ndarray | None:
    try:
        return open_fcs(path).values()
    except FCSError:
        return None


@pytest.fixture(scope="module")
def expected() -> dict:
    return json.loads((DATA / "fcs_zoo" / "expected.json").read_text())


@pytest.fixture(scope="module")
def truth() -> dict:
    return json.loads((DATA / "fcs_variants" / "truth.json").read_text())


@pytest.mark.parametrize("name", names_of("fcs_zoo"))
def test_zoo_equals_what_two_readers_agree_on(name, expected):
    wanted = expected[name]
    adata = read_fcs(DATA / "fcs_zoo" / name)
    channels, antigens = list(adata.var["channel"]), list(adata.var["antigen"])
    if name in SWALLOWED:
        position, channel = SWALLOWED[name]
        assert channels.pop(position) == channel
        antigens.pop(position)
    assert adata.shape == (wanted["n_events"], wanted["n_channels"])
    assert adata.uns["fcs"]["n_data_sets"] == wanted["n_data_sets"]
    assert (channels, antigens) == (wanted["pnn"], wanted["pns"])
    np.testing.assert_array_equal(adata.X[0].astype(np.float64), wanted["first_event"])
    np.testing.assert_allclose(adata.X.sum(axis=0, dtype=np.float64), wanted["channel_sums"], rtol=1e-9)


@pytest.mark.parametrize("name", [Path(name).stem for name in names_of("fcs_variants")])
def test_variants_equal_the_truth_or_are_refused_by_name(name, truth):
    path = DATA / "fcs_variants" / f"{name}.fcs"
    if name in REFUSED_VARIANTS:
        with pytest.raises(FCSError, match="byte order"):
            read_fcs(path)
        return
    data_set = open_fcs(path)
    values = np.array(truth[name]["t"]).reshape(-1, len(data_set.channels))
    np.testing.assert_array_equal(data_set.values(), values)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("v15b_escaped_in_name", ["LIVE/DEAD", "CD4", "CD8", "t"]),
        ("v21_empty_value_PnS", ["CH1", "CD4", "CD8", "t"]),
        ("v25_stext_pns", ["CD3", "CD4", "CD8", "Time"]),
        ("v45_dup_pns", ["CH1", "CH2", "CH3", "CH4"]),
    ],
)
def test_variants_keep_their_names(name, names):
    assert open_fcs(DATA / "fcs_variants" / f"{name}.fcs").names == names


def test_disagreeing_offsets_are_settled_by_size_and_said():
    data_set = open_fcs(DATA / "fcs_odd" / "data_start_offset_discrepancy_example.fcs")
    twin = open_fcs(DATA / "fcs_zoo" / "variable_int_example.fcs")
    np.testing.assert_array_equal(data_set.values(), twin.values())
    assert any("TEXT (bytes 6081 to 6188) fits $TOT and was used" in warning for warning in data_set.warnings)


def test_blank_header_offsets_give_the_values_of_the_original():
    blank = open_fcs(DATA / "fcs_odd" / "fake_large_fcs.fcs")
    original = open_fcs(DATA / "fcs_zoo" / "FCS_3.0_Fortessa_PBS_Specimen_001_A1_A01.fcs")
    np.testing.assert_array_equal(blank.values(), original.values())


def test_24_bit_integers_stay_below_their_range():
    data_set = open_fcs(DATA / "fcs_odd" / "Cytek_xP5.fcs")
    values = data_set.values()
    assert values.shape == (23126, 8)
    assert (values < [channel.range for channel in data_set.channels]).all()
    assert (np.diff(values[:, 0]) >= 0).mean() > 0.99  # time goes on


@pytest.mark.parametrize(
    ("name", "reason"), [("sample_header.fcs", "beyond the end of the file"), ("corrupted.fcs", "not an FCS file")]
)
def test_odd_files_without_data_are_refused_with_the_reason(name, reason):
    with pytest.raises(FCSError, match=reason):
        open_fcs(DATA / "fcs_odd" / name)


@pytest.mark.parametrize("name", names_of("fcs_corrupt"))
def test_damaged_file_is_refused_or_right(name):
    original = (
        "Data23_Panel3_base_NR4_Patient9.fcs" if name == "x_83_gz_of_good.fcs" else "data_set_simple_line_100.fcs"
    )
    values = values_or_none(DATA / "fcs_corrupt" / name)
    if values is not None and name not in UNDETECTABLE:
        np.testing.assert_array_equal(values, open_fcs(DATA / "fcs_zoo" / original).values())


@pytest.mark.parametrize("name", names_of("fcs_corrupt"))
def test_refusal_is_one_line_that_names_the_file(name):
    path = DATA / "fcs_corrupt" / name
    try:
        open_fcs(path)
    except FCSError as error:
        message = str(error)
    else:
        return
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["f31_00_rebuilt_good.fcs", "x_83_gz_of_good.fcs", *sorted(UNDETECTABLE)])
def test_legal_files_among_the_damaged_are_not_refused(name):
    assert values_or_none(DATA / "fcs_corrupt" / name) is not None


def test_damaged_files_cost_neither_time_nor_memory():
    script = """
import resource, sys, time
from cytomoe.errors import FCSError
from cytomoe.io import read_fcs
slowest = 0.0
for path in sys.argv[1:]:
    started = time.process_time()
    try:
        read_fcs(path)
    except FCSError:
        pass
    slowest = max(slowest, time.process_time() - started)
unit = 1 if sys.platform == "darwin" else 1024
print(slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""
    paths = [str(DATA / folder / name) for folder in ("fcs_corrupt", "fcs_odd") for name in names_of(folder)]
    run = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    slowest, peak = (float(figure) for figure in run.stdout.split())
    assert slowest < MOST_SECONDS
    assert peak < MOST_BYTES


def test_bodenmiller_wells_are_complete():
    data_sets = [open_fcs(DATA / "bodenmiller" / name) for name in names_of("bodenmiller")]
    assert sum(data_set.n_events for data_set in data_sets) == 37_360
    assert {len(data_set.channels) for data_set in data_sets} == {35}
    assert all({"CD3", "HLA-DR", "IgM"} <= set(data_set.names) for data_set in data_sets)


def test_label_channel_of_a_compressed_file_is_read():
    adata = read_fcs(DATA / "flow" / "Nilsson_rare_notransform.fcs.gz")
    assert adata.n_obs == 44_140
    assert adata[:, "label"].X.sum() == 358
