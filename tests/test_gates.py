"""Gates from file names, channels and tables, and the events that population files share."""

import html
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.evaluation import evaluate
from cytomoe.io import read_fcs, write_fcs
from cytomoe.io.event_rows import EventRows
from cytomoe.io.gate_tables import read_gate_file
from cytomoe.io.gates import (
    GatePattern,
    Gates,
    gates_from_channel,
    gates_from_files,
    read_gate_names,
)
from cytomoe.io.overlaps import find_overlaps
from cytomoe.runs.events import open_events
from cytomoe.runs.gating import GateSource, describe_gates, find_gates

PATTERN = "{plate}_{gate}_{well}.fcs"
DATA = Path(os.environ.get("CYTOMOE_DATA", "/nonexistent"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="set CYTOMOE_DATA to the folder of real files")


def one_file(n):
    return EventRows.of_files(["cells.fcs"], [n])


def labels_of(gates):
    return ["" if code < 0 else gates.names[code] for code in gates.codes]


def test_words_for_no_gate():
    words = ["", "Unlabeled", "ungated", "UNASSIGNED", "NA", "nan", "0", None, float("nan"), " "]
    assert not Gates.from_labels(words).gated.any()


def test_labels_are_kept_in_order_without_surrounding_space():
    assert labels_of(Gates.from_labels(["NK", " B cells ", "NK", "ungated"])) == ["NK", "B cells", "NK", ""]


def test_every_name_has_an_event():
    gates = Gates.from_labels(["b", "a", "NA", "b"])
    assert gates.counts() == {"a": 1, "b": 2}


def test_names_that_differ_in_capitals_or_spaces_are_told_with_their_counts():
    (line,) = Gates.from_labels(["NK"] * 3 + ["nk"] + ["CD4  T", "CD4 t", "CD4+", "CD4-", " NK "]).names_alike()
    assert "'NK' (4 events) and 'nk' (1 event)" in line
    assert "'CD4  T' (1 event) and 'CD4 t' (1 event); 'NK'" in line
    assert Gates.from_labels(["NK", "NK ", "NK cells", "CD4+", "CD4-"]).names_alike() == []


def test_categorical_column_has_missing_values_for_no_gate():
    column = pd.Series(Gates.from_labels(["b", "", "a"]).to_categorical())
    assert column.isna().tolist() == [False, True, False]
    assert column.dropna().tolist() == ["b", "a"]


def test_pattern_reads_the_fields_of_a_cytobank_export():
    fields = GatePattern(PATTERN).fields_of("/data/Staurosporine_cd14+hladr-_H05.fcs")
    assert fields == {"plate": "Staurosporine", "gate": "cd14+hladr-", "well": "H05"}


def test_files_that_differ_in_the_gate_alone_are_one_sample():
    paths = ["p_nk_H05.fcs", "p_nk_H08.fcs", "p_cd4+_H05.fcs"]
    samples = GatePattern(PATTERN).group(paths)
    assert [(s.name, s.gates) for s in samples] == [("p_H05", ("nk", "cd4+")), ("p_H08", ("nk",))]
    assert samples[0].paths == (Path("p_nk_H05.fcs"), Path("p_cd4+_H05.fcs"))


def test_pattern_with_only_the_gate_makes_one_sample():
    (sample,) = GatePattern("{gate}.fcs").group(["nk.fcs", "cd4.fcs"])
    assert sample.gates == ("nk", "cd4")


def test_literal_text_of_a_pattern_is_no_expression():
    with pytest.raises(InputError, match="does not match"):
        GatePattern("x.{gate}.fcs").fields_of("xa_nk_fcs")


def test_file_that_does_not_match_is_named():
    with pytest.raises(InputError, match=r"beads\.fcs: the file name does not match --gate-pattern"):
        GatePattern(PATTERN).group(["p_nk_H05.fcs", "beads.fcs"])


def test_name_that_splits_in_two_ways_is_refused():
    with pytest.raises(InputError, match=r"more than one way \(gate 'plate' or 'nk'\)"):
        GatePattern(PATTERN).fields_of("my_plate_nk_H05.fcs")


def test_fixed_text_settles_which_way_a_name_splits():
    assert GatePattern("my_plate_{gate}_{well}.fcs").fields_of("my_plate_nk_H05.fcs")["gate"] == "nk"


def test_two_files_of_one_gate_and_sample_are_refused():
    with pytest.raises(InputError, match="both hold gate 'nk' of sample 'p_H05'"):
        GatePattern(PATTERN).group(["a/p_nk_H05.fcs", "b/p_nk_H05.fcs"])


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("{plate}_{well}.fcs", r"field \{gate\} is missing"),
        ("{gate}_{well}_{well}.fcs", r"field \{well\} stands in it twice"),
        ("{gate}_{}.fcs", "no field name"),
        ("{gate_{well}.fcs", "--gate-pattern"),
        ("{gate}_{well.fcs", "--gate-pattern"),
    ],
)
def test_bad_patterns_are_refused(pattern, problem):
    with pytest.raises(InputError, match=problem):
        GatePattern(pattern)


def test_file_of_ungated_events_gives_no_gate():
    assert labels_of(gates_from_files(["nk", "ungated"], [2, 1])) == ["nk", "nk", ""]


def sample_with(label):
    values = np.column_stack([np.linspace(0.5, 9.5, len(label)), label]).astype(np.float32)
    var = pd.DataFrame({"channel": ["Nd145Di", "label"], "antigen": ["CD4", ""]}, index=["CD4", "label"])
    return AnnData(values, var=var)


def test_channel_zero_and_nan_are_no_gate_and_numbers_sort_as_numbers():
    gates = gates_from_channel(sample_with([10, 0, np.nan, 2, 10]), "label")
    assert gates.names == ("2", "10")
    assert labels_of(gates) == ["10", "", "", "2", "10"]


def test_channel_is_found_without_regard_to_case():
    assert gates_from_channel(sample_with([1, 2]), "LABEL").names == ("1", "2")


def test_unknown_channel_names_the_nearest():
    with pytest.raises(InputError, match="no such channel; nearest: label"):
        gates_from_channel(sample_with([1, 2]), "labels")


def test_unknown_channel_that_is_near_none_says_what_lists_them():
    with pytest.raises(InputError, match="no such channel; cytomoe info lists those that it has"):
        gates_from_channel(sample_with([1, 2]), "gate")


def test_channel_of_measurements_is_refused():
    with pytest.raises(InputError, match="holds measured values"):
        gates_from_channel(sample_with([1, 2]), "CD4")


def test_gates_of_names_that_differ_in_capitals_are_told_where_they_are_used(tmp_path, capsys):
    source = "example_data/example_A01.fcs"
    gates = pd.read_csv("example_data/example_A01_gates.csv", keep_default_na=False)
    gates.loc[gates.index[gates["gate"] == "NK cells"][:40], "gate"] = "nk cells"
    gates.to_csv(tmp_path / "gates.csv", index=False)
    given = ["--gate-file", str(tmp_path / "gates.csv")]
    n = int((gates["gate"] == "NK cells").sum())
    told = f"'NK cells' ({n} events) and 'nk cells' (40 events)"
    out = tmp_path / "out"
    quick = ["--subsample", "1500", "--prior", str(tmp_path / "gates.csv")]
    assert run(["cluster", source, *given, *quick, "--out", str(out)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if told in line]
    assert [line.split(" whose")[0] for line in lines] == ["Warning: gates", "Warning: known populations"]
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert told in page
    assert run(["predict", str(out), source, *given, "--no-report", "--out", str(tmp_path / "mapped")]) == 0
    assert told in capsys.readouterr().err
    assert any(told in line for line in json.loads((tmp_path / "mapped" / "run.json").read_text())["warnings"])
    assert run(["evaluate", str(out), *given]) == 0
    assert told in capsys.readouterr().err


def test_a_gate_is_measured_the_same_whether_the_file_of_the_rest_holds_its_events_too(tmp_path):
    well = read_fcs(Path(__file__).parent.parent / "example_data" / "example_A01.fcs")
    gated = np.asarray(well[:, "gate"].X).ravel() == 1
    measured = []
    for name, rest in (("all", well), ("others", well[~gated])):
        (tmp_path / name).mkdir()
        files = [tmp_path / name / "T_A01.fcs", tmp_path / name / "ungated_A01.fcs"]
        write_fcs(well[gated], files[0])
        write_fcs(rest, files[1])
        gates = find_gates(events := open_events(files, pattern="{gate}_{well}.fcs"), GateSource("{gate}_{well}.fcs"))
        clusters = np.concatenate([raw.X[:, raw.var_names.get_loc("CD4")] > 10 for raw in events.all_raw]) + 1
        measured.append(evaluate(clusters, gates.gates, unique=gates.overlaps.unique))
        assert "1,391 events in 1 gate; the other 72.2 % lie in none" in describe_gates(gates)
    assert measured[0] == measured[1]
    assert measured[0]["all"]["n_rest"] == 3609


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="gates.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


@pytest.mark.parametrize(
    "text",
    ["NK\n\nB\n", "gate\nNK\n\nB\n", '"NK"\r\n"Unlabeled"\r\n"B"\r\n', "\ufeffgate\nNK\nNA\nB", "NK\n0\nB\n\n"],
    ids=["plain", "header", "quoted", "byte order mark", "blank line at the end"],
)
def test_table_with_one_row_per_event(write, text):
    # Without a header, a table of n + 1 rows whose first row occurs again can only end in a blank line.
    text = text.replace("NK", "B") if text.endswith("\n\n") else text
    assert labels_of(read_gate_file(write(text), one_file(3)))[1:] == ["", "B"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_column_by_name_in_any_delimiter(write, delimiter):
    path = write(f"event{delimiter}gate\n0{delimiter}NK\n1{delimiter}B\n")
    assert labels_of(read_gate_file(f"{path}:gate", one_file(2))) == ["NK", "B"]


def test_column_by_number_without_a_header(write):
    assert labels_of(read_gate_file(str(write("x,NK\ny,B\n")) + ":2", one_file(2))) == ["NK", "B"]


def test_colon_in_a_file_name_is_no_column(write):
    assert labels_of(read_gate_file(write("NK\nB\n", "run:1.csv"), one_file(2))) == ["NK", "B"]


def test_several_columns_need_a_choice(write):
    with pytest.raises(InputError, match=r"which column holds the gates\? event, gate, day; say --gate-file .*:gate"):
        read_gate_file(write("event,gate,day\n0,NK,1\n1,B,1\n"), one_file(2))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("event,gate", "{0},{1}"),
        ("file,event,celltype", "cells.fcs,{0},{1}"),
        ("Sample,gate,Event", "cells,{1},{0}"),
        (",gate", "{0},{1}"),
        ("Unnamed: 0,gate,file", "{0},{1},cells.fcs"),
        ("index,event,gate", "{0},{0},{1}"),
    ],
)
def test_a_single_column_that_says_no_event_holds_the_gates(write, header, row):
    rows = "\n".join(row.format(i, gate) for i, gate in enumerate(("NK", "B", "NK")))
    assert labels_of(read_gate_file(write(f"{header}\n{rows}\n"), one_file(3))) == ["NK", "B", "NK"]


@pytest.mark.parametrize("index", ["index", "cell_id", "Unnamed: 0", ""])
@pytest.mark.parametrize("first", [0, 1])
def test_a_table_in_another_order_than_its_index_is_refused(write, index, first):
    rows = "\n".join(f"{i + first},NK" for i in (2, 0, 1))
    with pytest.raises(InputError, match="counts the events, but not in the order of its rows; call it event if it co"):
        read_gate_file(f"{write(f'{index},gate{chr(10)}{rows}{chr(10)}')}:gate", one_file(3))


@pytest.mark.parametrize(
    ("table", "likely"),
    [
        ("file,event,cluster,confidence\na,0,1,1\na,1,2,1\n", "cluster"),
        ("file,event,cluster,confidence,population\na,0,1,1,T\na,1,2,1,B\n", "population"),
        ("file,event,Gate,cluster,population\na,0,NK,1,T\na,1,NK,2,B\n", "Gate"),
        ("event,celltype,purity\n0,T,0.5\n1,B,1\n", "celltype"),
        ("file,event\na,0\na,1\n", "event"),
        ("T,0.5\nB,1\n", "1"),
    ],
)
def test_the_column_that_is_likely_to_hold_gates_is_proposed(write, table, likely):
    path = write(table)
    with pytest.raises(InputError, match=f"say --gate-file {re.escape(str(path))}:{likely}$"):
        read_gate_file(path, one_file(2))


def test_unknown_column_names_the_nearest(write):
    with pytest.raises(InputError, match="no column 'gates'; nearest: gate"):
        read_gate_file(str(write("event,gate\n0,NK\n1,B\n")) + ":gates", one_file(2))


def test_named_column_without_a_header_is_explained(write):
    with pytest.raises(InputError, match="no header; name the column by its number"):
        read_gate_file(str(write("0,NK\n1,B\n")) + ":gate", one_file(2))


@pytest.mark.parametrize("n_events", [2, 3, 5, 100])
def test_number_of_rows_must_be_the_number_of_events(write, n_events):
    # With 3 events, the first of 4 rows is no header because it occurs again.
    with pytest.raises(InputError, match=f"4 rows for {n_events} events"):
        read_gate_file(write("NK\nNK\nB\nT\n"), one_file(n_events))


def test_a_header_is_not_counted_among_the_rows(write):
    with pytest.raises(InputError, match="2 rows under a header line for 5 events"):
        read_gate_file(write("gate\nNK\nNK\n"), one_file(5))


@pytest.mark.parametrize("header", ["gate", "Population", "name,cluster"])
def test_a_header_is_not_taken_for_the_gate_of_the_first_event(write, header):
    row = ",".join("x" for _ in header.split(","))
    with pytest.raises(InputError, match="2 rows under a header line for 3 events"):
        read_gate_file(write(f"{header}\n{row}\n{row}\n"), one_file(3))


def test_missing_table_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_gate_file(tmp_path / "none.csv", one_file(3))


def test_empty_table_is_an_input_error(write):
    with pytest.raises(InputError, match="the file is empty"):
        read_gate_file(write(""), one_file(3))


def test_binary_table_is_an_input_error(tmp_path):
    path = tmp_path / "gates.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is not a text file"):
        read_gate_file(path, one_file(3))


def overlaps_of(rows, labels, file, sample=None):
    return find_overlaps(np.array(rows, dtype=np.float32), Gates.from_labels(labels), file=file, sample=sample)


def test_event_of_two_files_is_one_event_in_two_gates():
    found = overlaps_of([[1, 2], [3, 4], [1, 2]], ["a", "a", "b"], [0, 0, 1])
    assert found.event.tolist() == [0, 1, 0]
    assert found.unique.tolist() == [False, True, False]
    assert found.first.tolist() == [True, True, False]
    assert found.shared == {("a", "b"): 1}


def test_identical_rows_of_one_file_are_different_events():
    found = overlaps_of([[1, 2], [1, 2]], ["a", "a"], [0, 0])
    assert found.first.all()
    assert found.unique.all()


def test_copies_pair_up_between_files_in_order():
    found = overlaps_of([[1], [1], [1], [1], [1]], ["a", "a", "b", "b", "b"], [0, 0, 1, 1, 1])
    assert found.event.tolist() == [0, 1, 0, 1, 4]
    assert found.unique.tolist() == [False, False, False, False, True]


def test_samples_do_not_share_events():
    found = overlaps_of([[1, 2], [1, 2]], ["a", "b"], [0, 1], sample=["A01", "A02"])
    assert found.n_events == 2


def test_event_repeated_without_a_gate_still_lies_in_one():
    found = overlaps_of([[1, 2], [1, 2]], ["a", "ungated"], [0, 1])
    assert found.n_events == 1
    assert found.unique.tolist() == [True, False]  # the row in the gate counts for the event
    assert overlaps_of([[1, 2], [1, 2]], ["ungated", "a"], [0, 1]).unique.tolist() == [False, True]


def test_negative_zero_and_nan_are_equal_to_their_kind():
    found = overlaps_of([[-0.0, np.nan], [0.0, -np.nan]], ["a", "b"], [0, 1])
    assert found.n_events == 1


def test_message_counts_rows_events_and_gates():
    found = overlaps_of([[1], [2], [1]], ["nk", "nk", "surf-"], [0, 0, 1])
    assert found.message() == (
        "3 rows hold 2 distinct events; 1 of them lie in more than one gate (most: nk and surf- 1)"
    )


def test_rows_without_any_gate_can_be_the_same_event():
    found = overlaps_of([[1], [1]], ["", ""], [0, 1])
    assert found.message() == "2 rows hold 1 distinct events"
    assert found.unique.tolist() == [True, False]


def test_message_is_empty_without_overlaps():
    assert overlaps_of([[1], [2]], ["a", "b"], [0, 1]).message() == ""


def slow_events(values, file):
    """First row of each row's event, one row at a time."""
    seen, copies, leaders = {}, {}, []
    for index, (row, source) in enumerate(zip(values, file, strict=True)):
        content = tuple("nan" if np.isnan(value) else float(value) + 0.0 for value in row)
        copy = copies.get((content, source), 0)
        copies[content, source] = copy + 1
        leaders.append(seen.setdefault((content, copy), index))
    return leaders


@given(
    st.integers(1, 25).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.float64, (n, 2), elements=st.sampled_from([0.0, -0.0, 1.5, np.nan])),
            st.lists(st.integers(0, 2), min_size=n, max_size=n),
        )
    )
)
def test_overlaps_equal_a_search_row_by_row(drawn):
    values, file = drawn
    names = np.array(["a", "b", "c"])[file]
    found = find_overlaps(values, Gates.from_labels(names), file=file)
    assert found.event.tolist() == slow_events(values, file)
    gates_of = {}
    for leader, name in zip(found.event, names, strict=True):
        gates_of.setdefault(leader, set()).add(name)
    assert found.unique.tolist() == [len(gates_of[leader]) == 1 for leader in found.event]
    assert found.n_shared == sum(len(gates) > 1 for gates in gates_of.values())


@needs_data
def test_mouse_spleen_gates():
    gates = read_gate_file(DATA / "flow" / "mouse_spleen_gates.csv", one_file(19_225))
    assert gates.counts() == {
        "B cells": 2460,
        "CD4 T cells": 7487,
        "CD8 T cells": 1407,
        "NK T cells": 535,
        "NK cells": 312,
        "gd T cells": 1470,
    }


@needs_data
@pytest.mark.parametrize(
    ("well", "rows", "events", "shared"), [("H05", 15_792, 14_067, 1722), ("H08", 15_252, 13_414, 1831)]
)
def test_overlaps_of_the_bodenmiller_wells(well, rows, events, shared):
    from cytomoe.io import read_fcs

    (sample,) = GatePattern(PATTERN).group(sorted((DATA / "bodenmiller").glob(f"*_{well}.fcs")))
    parts = [np.asarray(read_fcs(path).X) for path in sample.paths]
    sizes = [len(part) for part in parts]
    gates = gates_from_files(sample.gates, sizes)
    found = find_overlaps(np.vstack(parts), gates, file=np.repeat(np.arange(len(parts)), sizes))
    assert (len(found.event), found.n_events, found.n_shared) == (rows, events, shared)


@needs_data
def test_label_channel_of_the_rare_population():
    from cytomoe.io import read_fcs

    gates = gates_from_channel(read_fcs(DATA / "flow" / "Nilsson_rare_notransform.fcs.gz"), "label")
    assert gates.counts() == {"1": 358}


@pytest.mark.parametrize(
    "text", ["number,gate\n1,T cells\n02,B cells\n", "population\tlabel\nT cells\t1\nB cells\t2\n\n"]
)
def test_names_of_numbered_gates_are_read_in_either_order(tmp_path, text):
    (tmp_path / "names.csv").write_text(text)
    assert read_gate_names(tmp_path / "names.csv") == {"1": "T cells", "2": "B cells"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nT,B\n", "needs a column with the numbers"),
        ("1,T\n1,B\n", "a number is named twice"),
        ("²,T\n", "needs a column with the numbers"),
        ("", "the file is empty"),
    ],
)
def test_a_table_that_names_no_gates_is_refused(tmp_path, text, message):
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_gate_names(tmp_path / "names.csv")
