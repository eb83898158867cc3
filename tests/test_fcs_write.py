"""Writing: what was read comes back bit by bit, for two readers, with channels added."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import anndata
import flowio
import numpy as np
import pandas as pd
import pytest
from fcs_builder import FCSBuilder
from handmade import make_adata
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cytomoe.errors import InputError
from cytomoe.io import open_fcs, read_fcs, write_fcs

DATA = Path(os.environ.get("CYTOMOE_DATA", "/nonexistent"))
ZOO = sorted(path.name for path in (DATA / "fcs_zoo").glob("*") if path.suffix != ".json")
# The written file's own, and one that gives the place of an attachment, which is not copied.
LAYOUT = ("$BEGIN", "$END", "$BYTEORD", "$DATATYPE", "$MODE", "$NEXTDATA", "$PAR", "$TOT", "P$SCFGZIP")

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


def adata_of(values, channels=None, antigens=None, keywords=None):
    channels = channels or [f"C{n}" for n in range(values.shape[1])]
    var = pd.DataFrame({"channel": channels, "antigen": antigens or [""] * len(channels)}, index=channels)
    obs = pd.DataFrame(index=pd.RangeIndex(len(values)).astype(str))
    return anndata.AnnData(values, obs=obs, var=var, uns={"fcs": {"keywords": keywords or {}}})


def by_flowio(path, n_channels):
    return np.array(flowio.FlowData(str(path)).events, dtype=np.float32).reshape(-1, n_channels)


@pytest.mark.skipif(not ZOO, reason="CYTOMOE_DATA does not name a folder of real data")
@pytest.mark.parametrize("name", ZOO)
def test_zoo_comes_back_bit_by_bit_with_channels_added(tmp_path, name):
    source = read_fcs(DATA / "fcs_zoo" / name)
    extra = {"cluster": np.arange(source.n_obs) % 7 + 1, "confidence": np.linspace(0, 1, source.n_obs)}
    path = tmp_path / "written.fcs"
    write_fcs(source, path, extra=extra)
    read = read_fcs(path)
    wanted = np.column_stack([source.X, *extra.values()]).astype(np.float32)
    assert read.X.tobytes() == wanted.tobytes()
    assert by_flowio(path, wanted.shape[1]).tobytes() == wanted.tobytes()
    assert list(read.var_names) == [*source.var_names, "cluster", "confidence"]
    assert list(read.var["channel"][:-2]) == list(source.var["channel"])
    np.testing.assert_array_equal(read.var["range"][:-2], source.var["range"])


@pytest.mark.skipif(not ZOO, reason="CYTOMOE_DATA does not name a folder of real data")
@pytest.mark.parametrize("name", ZOO)
def test_zoo_keeps_its_keywords(tmp_path, name):
    source = open_fcs(DATA / "fcs_zoo" / name)
    notes = " ".join(write_fcs(source, tmp_path / "written.fcs"))
    written = open_fcs(tmp_path / "written.fcs").keywords
    for keyword, value in source.keywords.items():
        # $PnB is 32, $PnE is 0,0 and $PnG may be spelled 1 instead of 1.0.
        if value and not keyword.startswith(LAYOUT) and not re.fullmatch(r"\$P\d+[BEG]", keyword):
            assert written.get(keyword, written.get(keyword.removeprefix("$"))) == value
            assert keyword in written or keyword in notes


@settings(max_examples=80)
@given(data=st.data())
def test_any_matrix_comes_back_bit_by_bit(tmp_path_factory, data):
    shape = data.draw(st.tuples(st.integers(0, 8), st.integers(1, 5)))
    values = data.draw(arrays(np.float32, shape, elements=st.floats(width=32)))
    channels = data.draw(st.lists(names, min_size=shape[1], max_size=shape[1], unique=True))
    antigens = data.draw(st.lists(st.just("") | names, min_size=shape[1], max_size=shape[1]))
    keywords = data.draw(st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=8), max_size=4))
    path = tmp_path_factory.mktemp("fcs") / "written.fcs"
    write_fcs(adata_of(values, channels, antigens, keywords), path)
    read = open_fcs(path)
    assert read.values().tobytes() == values.tobytes()
    assert by_flowio(path, shape[1]).tobytes() == values.tobytes()
    assert [channel.name for channel in read.channels] == channels
    assert [channel.antigen for channel in read.channels] == antigens


@settings(max_examples=50)
@given(length=st.integers(1, 3000), n_events=st.sampled_from([0, 1, 25, 2490]))
@example(length=545, n_events=1)  # two lengths of TEXT at which flowio alone gives up
@example(length=546, n_events=0)
def test_any_length_of_text_can_be_written(tmp_path_factory, length, n_events):
    path = tmp_path_factory.mktemp("fcs") / "written.fcs"
    write_fcs(adata_of(np.ones((n_events, 1), dtype=np.float32), ["A"], keywords={"X": "y" * length}), path)
    assert open_fcs(path).n_events == n_events


@pytest.mark.parametrize(
    ("keyword", "value", "back"),
    [
        ("$COM", "/data/plate/", "/data/plate/"),
        ("$SRC", "LIVE/DEAD", "LIVE/DEAD"),
        ("TUBE/NAME", "7", None),
        ("$OP", "", None),
        ("$DATATYPE", "I", "F"),
        ("P$SCFGZIP", "16681", None),
    ],
)
def test_keywords_that_readers_stumble_over(tmp_path, keyword, value, back):
    source = adata_of(np.ones((2, 1), dtype=np.float32), keywords={keyword: value, "$CYT": "Aurora"})
    write_fcs(source, tmp_path / "written.fcs")
    read = open_fcs(tmp_path / "written.fcs").keywords
    assert read.get(keyword) == back
    assert read["$CYT"] == "Aurora"


def test_renamed_keyword_is_said(tmp_path):
    source = adata_of(np.ones((2, 1), dtype=np.float32), keywords={"TUBE/NAME": "7"})
    notes = write_fcs(source, tmp_path / "written.fcs")
    assert "TUBE/NAME was renamed to TUBE_NAME" in notes[0]
    assert open_fcs(tmp_path / "written.fcs").keywords["TUBE_NAME"] == "7"


def test_keywords_of_a_channel_follow_it(tmp_path):
    channels = [("A", 32, "10"), ("B", 32, "20"), ("C", 32, "30")]
    keywords = {"$P1V": "100", "$P2V": "200", "$P3V": "300", "P3DISPLAY": "LOG", "$P3S": "CD3"}
    path = tmp_path / "source.fcs"
    path.write_bytes(FCSBuilder(channels, np.arange(6, dtype="<f4").tobytes(), 2, keywords=keywords).build())
    write_fcs(read_fcs(path)[:, ["CD3", "A"]], tmp_path / "written.fcs")
    read = open_fcs(tmp_path / "written.fcs")
    assert read.values().tolist() == [[2.0, 0.0], [5.0, 3.0]]
    assert [channel.range for channel in read.channels] == [30.0, 10.0]
    assert [read.keywords.get(key) for key in ("$P1V", "$P2V", "$P3V", "P1DISPLAY")] == ["300", "100", None, "LOG"]


def test_raw_layer_is_written_rather_than_what_the_model_saw(tmp_path):
    source = adata_of(np.zeros((3, 2), dtype=np.float32))
    source.layers["raw"] = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_fcs(source, tmp_path / "written.fcs")
    np.testing.assert_array_equal(open_fcs(tmp_path / "written.fcs").values(), source.layers["raw"])


def test_rounding_to_float32_is_said_by_channel(tmp_path):
    source = adata_of(np.array([[1.0, 0.1], [2.0, 2.0]]), ["exact", "fine"])
    (note,) = write_fcs(source, tmp_path / "written.fcs")
    assert "fine" in note
    assert "exact" not in note


def test_logarithmic_scale_of_integers_is_dropped_and_said(tmp_path):
    path = tmp_path / "source.fcs"
    path.write_bytes(FCSBuilder([("FL1", 16, "1024")], bytes(4), 2, datatype="I", keywords={"$P1E": "4,1"}).build())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (note,) = write_fcs(open_fcs(path), tmp_path / "written.fcs")
    assert "FL1 (4,1)" in note
    assert open_fcs(tmp_path / "written.fcs").channels[0].log == "0,0"


@pytest.mark.parametrize(
    ("column", "limit"),
    [([1, 2, 20], 21), ([0.0, 0.5, 0.99], 1), ([0.0, 1.0, 1.0], 2), ([-7.5, -2.0, -1.0], 1), ([np.nan] * 3, 1)],
)
def test_range_of_an_added_channel_lies_above_its_values(tmp_path, column, limit):
    write_fcs(adata_of(np.ones((3, 1), dtype=np.float32)), tmp_path / "written.fcs", extra={"added": column})
    assert open_fcs(tmp_path / "written.fcs").channels[-1].range == limit


def test_added_channel_of_a_taken_name_is_told_apart(tmp_path):
    path = tmp_path / "written.fcs"
    write_fcs(adata_of(np.ones((2, 1), dtype=np.float32), ["cluster"]), path, extra={"cluster": [1, 2]})
    assert open_fcs(path).names == ["cluster", "cluster (2)"]


def test_added_channel_of_the_wrong_length_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="there are 2 events"):
        write_fcs(adata_of(np.ones((2, 1))), tmp_path / "written.fcs", extra={"cluster": [1, 2, 3]})
    assert list(tmp_path.iterdir()) == []


def test_clusters_of_obs_are_written_as_numbers(tmp_path):
    cells = make_adata([("CD3", ""), ("CD4", "")], events=3)
    clusters = pd.Categorical(["2", "1", "10"])
    write_fcs(cells, tmp_path / "out.fcs", extra={"cluster": clusters})
    assert read_fcs(tmp_path / "out.fcs")[:, "cluster"].X.ravel().tolist() == [2, 1, 10]


def test_text_in_a_channel_is_refused(tmp_path):
    cells = make_adata([("CD3", ""), ("CD4", "")], events=3)
    with pytest.raises(InputError, match="channel gate holds text, and FCS numbers alone"):
        write_fcs(cells, tmp_path / "out.fcs", extra={"gate": ["T", "B", "T"]})
