"""The simulated plate: what it holds, that it repeats, and that it is neither trivial nor hopeless."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier

from cytomoe.datasets import simulate_plate, write_plate
from cytomoe.datasets.pbmc_profiles import MARKERS, POPULATIONS
from cytomoe.errors import InputError
from cytomoe.io import read_fcs
from cytomoe.io.event_rows import EventRows
from cytomoe.io.gate_tables import read_gate_file
from cytomoe.io.gates import Gates, gates_from_channel
from cytomoe.metrics import f_measure, mean_f1

EXAMPLE = Path(__file__).parent.parent / "example_data"
EXAMPLE_SEED = 1
ANTIGENS = [marker.antigen for marker in MARKERS]


@pytest.fixture(scope="module")
def plate():
    return simulate_plate(EXAMPLE_SEED)


@pytest.fixture(scope="module")
def large_well():
    return simulate_plate(seed=5, wells=1, events=40_000)["A01"]


def expression(well):
    return np.arcsinh(np.clip(well[:, ANTIGENS].X, 0, None) / 5)


def test_channels_are_those_of_the_panel(plate):
    assert list(plate["A01"].var["channel"]) == [
        "Time",
        "Cell_length",
        "CD3(110:114)Dd",
        "CD45(In115)Dd",
        "CD4(Nd145)Dd",
        "CD20(Sm147)Dd",
        "CD33(Nd148)Dd",
        "CD123(Eu151)Dd",
        "CD14(Gd160)Dd",
        "IgM(Yb171)Dd",
        "HLA-DR(Yb174)Dd",
        "CD7(Yb176)Dd",
        "DNA-1(Ir191)Dd",
        "DNA-2(Ir193)Dd",
        "gate",
    ]


def test_same_seed_gives_the_same_values(plate):
    again = simulate_plate(EXAMPLE_SEED)
    assert list(again) == ["A01", "A02", "A03"]
    assert all(np.array_equal(again[well].X, plate[well].X) for well in plate)


def test_another_seed_gives_other_values(plate):
    assert not np.array_equal(simulate_plate(EXAMPLE_SEED + 1)["A01"].X, plate["A01"].X)


def test_first_wells_do_not_depend_on_how_many_follow(plate):
    assert np.array_equal(simulate_plate(EXAMPLE_SEED, wells=2)["A01"].X, plate["A01"].X)


def test_time_never_runs_back(plate):
    assert (np.diff(plate["A01"][:, "Time"].X.ravel()) >= 0).all()


def test_gate_channel_holds_the_number_of_the_gate(plate):
    well = plate["A02"]
    codes = well.obs["gate"].cat.codes.to_numpy()
    assert list(well.obs["gate"].cat.categories) == [population.name for population in POPULATIONS]
    assert np.array_equal(well[:, "gate"].X.ravel(), codes + 1)


def test_shares_follow_the_profiles(large_well):
    shares = large_well.obs["gate"].value_counts(normalize=True)
    for population in POPULATIONS:
        assert shares[population.name] == pytest.approx(population.percent / 100, rel=0.5)


def test_rarest_population_is_about_three_in_a_thousand(large_well):
    assert large_well.obs["gate"].value_counts(normalize=True).min() == pytest.approx(0.003, rel=0.4)


def test_one_event_in_twenty_has_no_gate(large_well):
    assert large_well.obs["gate"].isna().mean() == pytest.approx(0.05, abs=0.005)


def test_negative_markers_scatter_around_zero(large_well):
    cd20 = large_well[(large_well.obs["gate"] == "CD4 T cells").to_numpy(), "CD20"].X.ravel()
    assert abs(np.median(cd20)) < 1
    assert 0.3 < (cd20 < 0).mean() < 0.7
    assert np.quantile(cd20, 0.001) > -8


def test_positive_markers_have_the_median_of_their_profile(large_well):
    cd14 = large_well[(large_well.obs["gate"] == "CD14+ HLA-DR mid monocytes").to_numpy(), "CD14"].X
    assert np.median(cd14) == pytest.approx(28, rel=0.25)


def test_treated_well_loses_monocytes(plate):
    counts = {well: (sample.obs["gate"] == "CD14+ HLA-DR mid monocytes").sum() for well, sample in plate.items()}
    assert counts["A03"] < 0.7 * min(counts["A01"], counts["A02"])


def test_a_forest_finds_the_gates(plate):
    well = plate["A01"][plate["A01"].obs["gate"].notna().to_numpy()]
    train = np.arange(well.n_obs) % 5 != 0
    values, gates = expression(well), well.obs["gate"].to_numpy(dtype=object)
    forest = RandomForestClassifier(100, random_state=0).fit(values[train], gates[train])
    found = forest.predict(values[~train])
    assert f_measure(gates[~train], found) >= 0.96
    assert mean_f1(gates[~train], found) >= 0.88


def test_k_means_does_not(plate):
    gates = Gates.from_labels(plate["A01"].obs["gate"].to_numpy(dtype=object))
    clusters = KMeans(len(POPULATIONS), n_init=3, random_state=0).fit_predict(expression(plate["A01"]))
    assert 0.5 < f_measure(gates.codes, clusters) < 0.9
    assert 0.4 < mean_f1(gates.codes, clusters) < 0.85


@pytest.mark.parametrize(("wells", "events"), [(0, 10), (97, 10), (1, 0), (1, 10**23)])
def test_sizes_out_of_range_are_refused(wells, events):
    with pytest.raises(InputError, match=f"^{wells if wells != 1 else events:,} "):
        simulate_plate(0, wells=wells, events=events)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plate") / "new"
    return folder, write_plate(folder, EXAMPLE_SEED)


def test_written_files_are_named_by_well(written):
    folder, paths = written
    assert [path.name for path in paths] == [
        "example_A01.fcs",
        "example_A01_gates.csv",
        "example_A02.fcs",
        "example_A02_gates.csv",
        "example_A03.fcs",
        "example_A03_gates.csv",
        "gates.csv",
    ]
    assert sorted(folder.iterdir()) == sorted(paths)


def test_written_values_read_back(written, plate):
    folder, _ = written
    sample = read_fcs(folder / "example_A01.fcs")
    assert np.array_equal(sample.X, plate["A01"].X)
    assert list(sample.var_names) == list(plate["A01"].var_names)
    assert list(sample.var["channel"]) == list(plate["A01"].var["channel"])


def test_channel_and_table_give_the_same_gates(written):
    folder, _ = written
    by_number = gates_from_channel(read_fcs(folder / "example_A03.fcs"), "gate")
    by_name = read_gate_file(
        folder / "example_A03_gates.csv", EventRows.of_files(["example_A03.fcs"], [len(by_number.codes)])
    )
    name_of = pd.read_csv(folder / "gates.csv").set_index("number")["gate"]
    renamed = [name_of[int(by_number.names[code])] if code >= 0 else "" for code in by_number.codes]
    assert renamed == [by_name.names[code] if code >= 0 else "" for code in by_name.codes]


@pytest.mark.skipif(not EXAMPLE.is_dir(), reason="example_data is not part of an installed package")
def test_example_data_is_what_its_command_writes(written):
    _, paths = written
    for path in paths:
        assert (EXAMPLE / path.name).read_bytes() == path.read_bytes(), path.name
