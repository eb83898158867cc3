"""Tables of gates that name their events: in whatever order, never beside it."""

import re

import numpy as np
import pandas as pd
import pytest

from cytomoe.errors import InputError
from cytomoe.io.event_rows import EventRows
from cytomoe.io.gate_tables import read_gate_file

ROWS = EventRows.of_files(["a.fcs", "b.fcs"], [3, 2])
LABELS = list("PQRST")  # of the events of ROWS, in order
TABLE = pd.DataFrame({"file": ["a.fcs"] * 3 + ["b.fcs"] * 2, "event": [0, 1, 2, 0, 1], "gate": LABELS})


@pytest.fixture
def read(tmp_path):
    """Labels that a table gives to the events of a run, in the run's order, and what was said."""

    def read_table(table, rows=ROWS, column="gate"):
        said = []
        table.to_csv(tmp_path / "gates.csv", index=False)
        gates = read_gate_file(f"{tmp_path / 'gates.csv'}:{column}", rows, said.append)
        return [gates.names[code] for code in gates.codes], said

    return read_table


def test_a_table_in_the_order_of_the_run_is_taken_as_it_is(read):
    assert read(TABLE) == (LABELS, [])


@pytest.mark.parametrize(
    "order",
    [[3, 4, 0, 1, 2], [1, 2, 0, 3, 4], [4, 3, 2, 1, 0], [0, 3, 1, 4, 2]],
    ids=["files swapped", "rotated within a file", "backwards", "interleaved"],
)
def test_a_table_in_another_order_is_matched_by_file_and_event(read, order):
    labels, said = read(TABLE.iloc[order])
    assert labels == LABELS
    assert len(said) == 1
    assert "its rows are in another order than the events, and were matched by file and event" in said[0]


def test_events_may_be_counted_from_1(read):
    assert read(TABLE.assign(event=TABLE["event"] + 1).iloc[::-1])[0] == LABELS


def test_events_may_be_counted_through_all_files(read):
    assert read(TABLE.assign(event=range(5)).iloc[::-1])[0] == LABELS
    assert read(TABLE.assign(event=range(1, 6)).iloc[::-1])[0] == LABELS


def test_some_events_of_a_run_are_matched_by_their_numbers(read):
    rows = EventRows(("a.fcs",), np.zeros(3, dtype=np.int64), np.array([0, 3, 7]))
    some = pd.DataFrame({"file": "a.fcs", "event": [0, 3, 7], "gate": list("PQR")})
    assert read(some, rows) == (list("PQR"), [])
    assert read(some.iloc[[2, 0, 1]], rows)[0] == list("PQR")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.fcs"] * 4, "line 2 is event 0 of a.fcs, which is not in the run"),
        (["a.fcs"] * 3 + ["b.fcs"], "add a column"),
    ],
)
def test_a_count_does_not_stand_for_events_that_lack(read, names, message):
    codes, files = pd.factorize(np.array(names, dtype=object))
    rows = EventRows(tuple(files), codes, np.array([1, 2, 4, 0]) if len(files) > 1 else np.array([1, 2, 3, 4]))
    with pytest.raises(InputError, match=message):
        read(pd.DataFrame({"event": [0, 1, 2, 3], "gate": list("PQRS")}), rows)


def test_the_names_of_columns_may_be_written_large(read):
    assert read(TABLE.rename(columns={"file": "File", "event": "Event"}).iloc[::-1])[0] == LABELS


@pytest.mark.parametrize(
    ("run_names", "table_names"),
    [
        (["a.fcs", "b.fcs"], ["/data/a.fcs", "/data/b.fcs"]),
        (["a.fcs", "b.fcs"], ["C:\\data\\a.fcs", "C:\\data\\b.fcs"]),
        (["1/x.fcs", "2/x.fcs"], ["/data/1/x.fcs", "/data/2/x.fcs"]),
        (["1/a.fcs", "2/b.fcs"], ["a.fcs", "b.fcs"]),
        (["-a.fcs", "=b.fcs"], ["'-a.fcs", "'=b.fcs"]),
        (["-a.fcs", "=b.fcs"], ["-a.fcs", "=b.fcs"]),
        (["a.fcs", "b.FCS"], ["a", "b"]),
        (["1/x.fcs", "2/x.fcs"], ["1/x", "2/x"]),
    ],
    ids=[
        "folder",
        "folder of Windows",
        "two folders",
        "no folder",
        "guarded",
        "not guarded",
        "no .fcs",
        "folder, no .fcs",
    ],
)
def test_files_are_found_by_name(read, run_names, table_names):
    rows = EventRows.of_files(run_names, [3, 2])
    names = TABLE["file"].map(dict(zip(["a.fcs", "b.fcs"], table_names, strict=True)))
    assert read(TABLE.assign(file=names).iloc[::-1], rows)[0] == LABELS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": [0, 1, 1, 0, 1]}, "event 1 of a.fcs stands in line 3 and again in line 4, and event 2 of a.fcs has"),
        ({"event": [0, 1, 7, 0, 1]}, "line 4 is event 7 of a.fcs, which is not in the run, and event 2 of a.fcs has"),
        ({"event": [1, 2, 9, 1, 2]}, "line 4 is event 9 of a.fcs, which is not in the run, and event 3 of a.fcs has"),
        ({"event": [0, 1, 2, 1, 2]}, "line 6 is event 2 of b.fcs, which is not in the run, and event 0 of b.fcs has"),
        ({"event": ["0", "1", "x", "0", "1"]}, "should number the events, but line 4 of it holds 'x'"),
        ({"event": ["0", "1", "", "0", "1"]}, "should number the events, but line 4 of it holds ''"),
        ({"file": ["a.fcs"] * 3 + ["c.fcs"] * 2}, "line 5 names the file c.fcs, which is not in the run (a.fcs, b.fcs"),
    ],
)
def test_a_table_of_other_events_is_refused_by_its_line(read, change, message):
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        read(TABLE.assign(**change))
    hinted = "without a column event, rows count in the order of the files" in str(refused.value)
    assert hinted == ("line 4 of it" not in message and "event" in change)


NAMED_GATES = ["P", "", "R", "", "T"]


@pytest.fixture
def read_some(tmp_path):
    """The gate of each event, empty for none, and what was said."""

    def read_table(table, rows=ROWS, end=""):
        said = []
        (tmp_path / "gates.csv").write_text(table.to_csv(index=False) + end)
        gates = read_gate_file(f"{tmp_path / 'gates.csv'}:gate", rows, said.append)
        return [gates.names[code] if code >= 0 else "" for code in gates.codes], said

    return read_table


@pytest.mark.parametrize("order", [[0, 2, 4], [4, 0, 2]])
@pytest.mark.parametrize("end", ["", "\n\n"], ids=["no blank line", "blank lines at the end"])
def test_events_without_a_row_are_in_no_gate(read_some, order, end):
    labels, said = read_some(TABLE.iloc[order], end=end)
    assert labels == NAMED_GATES
    assert said[0].endswith("2 of 5 events have no row in it and count as in no gate (3 events in it, numbered from 0)")


def test_all_events_but_one_under_a_header_are_as_many_lines_as_events(read_some):
    assert read_some(TABLE.drop(index=1))[0] == ["P", "", "R", "S", "T"]


def test_some_events_are_numbered_from_1_where_the_last_says_so(read_some):
    labels, said = read_some(TABLE.assign(event=TABLE["event"] + 1).iloc[[0, 2, 4]])
    assert labels == NAMED_GATES
    assert said[0].endswith("numbered from 1)")


def test_some_events_of_a_single_file_need_no_file(read_some):
    rows = EventRows.of_files(["a.fcs"], [5])
    assert read_some(pd.DataFrame({"event": [4, 0, 2], "gate": list("TPR")}), rows)[0] == NAMED_GATES


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.iloc[[0, 2, 2]], "event 2 of a.fcs stands in line 3 and again in line 4"),
        (pd.concat([TABLE, TABLE.iloc[[4]]]), "event 1 of b.fcs stands in line 6 and again in line 7"),
        (TABLE.iloc[[0, 2]].assign(event=[0, 9]), "line 3 is event 9 of a.fcs, which is not in the run"),
        (TABLE.iloc[[0, 2]].assign(file="c.fcs"), "line 2 names the file c.fcs, which is not in the run"),
        (TABLE.iloc[[0, 2]].assign(event="x"), "2 rows for 5 events, and its column event holds no numbers"),
        (
            TABLE.iloc[[0, 2]].drop(columns="file"),
            "2 rows under a header line for 5 events; it needs one row per event",
        ),
    ],
    ids=["repeated", "too many", "unknown", "another file", "no numbers", "no file"],
)
def test_a_table_of_some_events_is_refused_where_it_is_not_clear_which(read_some, table, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_some(table)


def test_a_name_that_fits_two_files_is_refused(read):
    with pytest.raises(InputError, match=r"names the file x.fcs, which may be any of 1/x.fcs, 2/x.fcs"):
        read(TABLE.assign(file="x.fcs"), EventRows.of_files(["1/x.fcs", "2/x.fcs"], [3, 2]))


def test_without_names_of_files_the_order_of_the_run_is_taken(read):
    assert read(TABLE.drop(columns="file")) == (LABELS, [])
    assert read(TABLE.drop(columns="file").assign(event=[1, 2, 3, 1, 2])) == (LABELS, [])


def test_without_names_of_files_one_count_through_all_is_enough(read):
    counted = TABLE.drop(columns="file").assign(event=range(5))
    assert read(counted) == (LABELS, [])
    assert read(counted.iloc[[3, 1, 4, 0, 2]])[0] == LABELS
    assert read(counted.assign(event=range(1, 6)).iloc[::-1])[0] == LABELS


@pytest.mark.parametrize("event", [[0, 1, 0, 1, 2], [2, 1, 0, 0, 1], [1, 2, 3, 4, 6]])
def test_without_names_of_files_another_order_is_refused(read, event):
    with pytest.raises(InputError, match=r"does not say of which file each is; add a column file, as labels.csv"):
        read(TABLE.drop(columns="file").assign(event=event))


def test_a_single_file_need_not_be_named(read):
    rows = EventRows.of_files(["a.fcs"], [5])
    assert read(pd.DataFrame({"event": [4, 3, 2, 1, 0], "gate": LABELS[::-1]}), rows)[0] == LABELS


def test_a_table_of_another_single_file_is_refused(read):
    with pytest.raises(InputError, match=r"names the file b.fcs, which is not in the run \(a.fcs\)"):
        read(pd.DataFrame({"file": "b.fcs", "event": range(5), "gate": LABELS}), EventRows.of_files(["a.fcs"], [5]))


def test_a_column_event_of_something_else_is_not_used_and_that_is_said(read):
    labels, said = read(TABLE.assign(event=["rest", "stim", "stim", "rest", "rest"]))
    assert labels == LABELS
    assert "its column event holds no numbers of events" in said[0]


def test_the_gates_themselves_may_stand_in_a_column_event(read):
    assert read(pd.DataFrame({"event": LABELS, "other": 1}), column="event") == (LABELS, [])


SWAPPED = TABLE.iloc[[3, 4, 0, 1, 2]].drop(columns="event")  # the second file first


@pytest.mark.parametrize("column", ["file", "File", "Filename", "file_name", "sample", "Sample"])
@pytest.mark.parametrize("suffix", [".fcs", ""])
def test_rows_of_named_files_are_in_the_order_of_each_file(read, column, suffix):
    named = SWAPPED.assign(file=SWAPPED["file"].str.replace(".fcs", suffix))
    labels, said = read(named.rename(columns={"file": column}))
    assert labels == LABELS
    assert "its rows are in another order than the events, and were matched by file" in said[0]


def test_the_column_file_goes_before_the_sample(read):
    assert read(SWAPPED.assign(sample=["b.fcs", "a.fcs", "a.fcs", "a.fcs", "b.fcs"]))[0] == LABELS


def test_samples_with_names_of_their_own_are_no_files_and_that_is_said(read):
    labels, said = read(TABLE.drop(columns=["file", "event"]).assign(Sample="donor 1"))
    assert labels == LABELS
    assert "its column Sample names no file of the run and is not used" in said[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["c.fcs"] * 5, "line 2 names the file c.fcs, which is not in the run (a.fcs, b.fcs)"),
        (["a.fcs"] * 2 + ["b.fcs"] * 3, "2 rows of a.fcs, which has 3 events"),
        (["a.fcs", "b.fcs", "a.fcs", "b.fcs", "a.fcs"], "the rows of a.fcs do not stand together"),
    ],
    ids=["another file", "other counts", "interleaved"],
)
def test_files_that_contradict_the_run_are_refused(read, files, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read(TABLE.drop(columns="event").assign(file=files))


def test_a_table_of_named_files_that_lacks_rows_says_of_which(read):
    with pytest.raises(
        InputError, match=r"4 rows under a header line for 5 events \(1 row of b.fcs, which has 2 events"
    ):
        read(TABLE.drop(columns="event").drop(index=4))


@pytest.mark.parametrize("index", [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [3, 4, 0, 1, 2], [0, 1, 0, 1, 2], [7, 5, 4, 9, 8]])
def test_an_index_in_the_order_of_the_rows_or_events_is_not_used(read, index):
    assert read(SWAPPED.assign(index=index))[0] == LABELS


@pytest.mark.parametrize(
    ("index", "counts"),
    [([3, 4, 1, 0, 2], "all files"), ([1, 0, 0, 1, 2], "each file"), ([1, 2, 3, 1, 2], "each file")],
)
def test_an_index_shows_that_the_rows_of_named_files_were_shuffled(read, index, counts):
    with pytest.raises(
        InputError, match=f"column cell_id counts the events.*call it event if it counts through {counts}"
    ):
        read(SWAPPED.assign(cell_id=index))
