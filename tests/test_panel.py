"""Channel kinds, marker selection, and panel tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade import FLOW, MASS, Channels, make_adata
from hypothesis import given
from hypothesis import strategies as st

from cytomoe.errors import InputError
from cytomoe.preprocessing import (
    Panel,
    classify_channels,
    describe_selection,
    find_channel,
    instrument_kind,
    left_out,
    select_markers,
)
from cytomoe.preprocessing.channels import ChannelKind, fold, without_metal
from cytomoe.preprocessing.markers import names_in, shorten_runs


def kind_of(channel: str, antigen: str = "") -> ChannelKind:
    """Kind of one channel in a file that also has a stained detector."""
    return classify_channels(make_adata([(channel, antigen), ("Sm147Di", "CD20")]).var)[0]


@pytest.mark.parametrize(
    ("channel", "antigen", "kind"),
    [
        ("Time", "", "time"),
        ("Time", "Time (51.20 sec.)", "time"),
        ("Event_length", "", "length"),
        ("Cell_length", "Cell_length", "length"),
        ("Center", "", "event"),
        ("Residual", "", "event"),
        ("beadDist", "", "event"),
        ("FSC-A", "", "scatter"),
        ("FSC-H", "Forward Scatter", "scatter"),
        ("SSC LogH", "SSC LogH", "scatter"),
        ("SSC-B-A", "", "scatter"),
        ("FS INT LIN", "", "scatter"),
        ("label", "", "annotation"),
        ("FlowSOM_cluster", "", "annotation"),
        ("file_number", "", "annotation"),
        ("sample", "", "annotation"),
        ("cytomoe_cluster", "", "annotation"),
        ("Ir191Di", "", "dna"),
        ("Ir193Di", "193Ir_DNA2", "dna"),
        ("DNA-1(Ir191)Dd", "DNA-1", "dna"),
        ("Rh103Di", "103Rh", "viability"),
        ("Pt195Di", "195Pt", "viability"),
        ("Pt198Di", "198Pt_Dead", "viability"),
        ("AmCyan-A", "l/d", "viability"),
        ("BV510-A", "Zombie Aqua", "viability"),
        ("BUV496-A", "L/D Blue", "viability"),
        ("PerCP-A", "7-AAD", "viability"),
        ("Eu153Di", "Live/Dead", "viability"),
        ("BC1(La139)Dd", "BC1", "barcode"),
        ("Pd105Di", "105Pd", "barcode"),
        ("Pd105Di", "BCPd105", "barcode"),
        ("Ce140Di", "140Ce", "bead"),
        ("Ce140Di", "140Ce_EQBeads", "bead"),
        ("I127Di", "127I", "background"),
        ("Xe131Di", "", "background"),
        ("BCKG190Di", "190BCKG", "background"),
        ("La139Di", "", "empty"),
        ("La139Di", "139La", "empty"),
        ("Qdot 605-A", "", "empty"),
        ("BV605-A", "unstained", "empty"),
    ],
)
def test_channels_that_are_no_markers_are_known(channel: str, antigen: str, kind: ChannelKind) -> None:
    assert kind_of(channel, antigen) == kind


@pytest.mark.parametrize(
    ("channel", "antigen"),
    [
        ("Nd145Di", "145Nd_CD4"),
        ("CD4(Nd145)Dd", ""),
        ("CD3(110:114)Dd", "CD3"),
        ("pStat1(Eu153)Dd", "pStat1"),
        ("Pt195Di", "CD45"),
        ("Pd104Di", "CD45"),
        ("DAPI-A", "CD3"),
        ("PerCP-Cy5-5-A", "DNAM-1"),
        ("PE-A", "BCL-2"),
        ("PE-A", "BCMA"),
        ("PE-A", "LDLR"),
        ("PE-A", "Ki-67"),
        ("PE-A", "PD-1"),
        ("FITC-A", "GFP"),
    ],
)
def test_proteins_stay_proteins(channel: str, antigen: str) -> None:
    assert kind_of(channel, antigen) == "protein"


def test_a_file_without_antigens_uses_every_detector() -> None:
    var = make_adata([("FSC-A", ""), ("FL1-H", ""), ("FL2-H", "")]).var
    assert classify_channels(var) == ["scatter", "protein", "protein"]


def test_a_mass_file_without_antigens_uses_every_metal_without_another_use() -> None:
    var = make_adata([("Time", ""), ("Nd145Di", ""), ("Ir191Di", ""), ("Ce140Di", ""), ("Sm147Di", "")]).var
    assert classify_channels(var) == ["time", "protein", "dna", "bead", "protein"]


def test_one_pulse_measure_of_a_detector_is_used() -> None:
    var = make_adata([("BL1-A", "GFP-A"), ("BL1-H", "GFP-H"), ("BL1-W", "GFP-W"), ("YL2-H", "mCherry")]).var
    assert classify_channels(var) == ["protein", "pulse", "pulse", "protein"]


def test_the_logarithmic_measure_of_an_analog_detector_is_used() -> None:
    var = make_adata([("FL2-H", ""), ("FL2-A", "")], log=["4,1", "0,0"], datatype="I").var
    assert classify_channels(var) == ["protein", "pulse"]


@pytest.mark.parametrize(
    ("channels", "keywords", "kind"),
    [
        (MASS, {}, "mass"),
        (FLOW, {}, "fluorescence"),
        ([("CD4", ""), ("CD8", "")], {"$CYT": "DVSSCIENCES-CYTOF-6.5.358"}, "mass"),
        ([("CD4", ""), ("CD8", "")], {"$CYT": "LSRII"}, "fluorescence"),
        ([("CD45(In115)Dd", "CD45")], {}, "mass"),
        ([("Cell_length", ""), ("CD4", "")], {}, "mass"),
        ([("FSC-A", ""), ("CD110", "")], {}, "fluorescence"),
    ],
)
def test_instrument_is_decided_from_the_file(channels: Channels, keywords: dict[str, str], kind: str) -> None:
    assert instrument_kind(make_adata(channels, keywords=keywords)) == kind


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("145Nd_CD4", "145Nd_CD4"),
        ("CD4", "145Nd_CD4"),
        ("cd4", "145Nd_CD4"),
        ("HLADR", "174Yb_HLA-DR"),
        ("Nd145Di", "145Nd_CD4"),
        ("145Nd", "145Nd_CD4"),
        (" CD8 ", "146Nd_CD8"),
    ],
)
def test_a_marker_is_found_by_antigen_channel_or_metal(name: str, found: str) -> None:
    assert find_channel(make_adata(MASS).var, name) == [found]


def test_punctuation_does_not_matter_when_unambiguous() -> None:
    assert find_channel(make_adata([("PE-A", "NK1/1")]).var, "nk1.1") == ["NK1/1"]


def test_the_exact_name_goes_before_looser_readings() -> None:
    var = make_adata([("FITC-A", "cd4"), ("PE-A", "CD4")]).var
    assert find_channel(var, "CD4") == ["CD4"]


@given(st.sampled_from(["CD19", "CD4", "CD8", "HLA-DR"]), st.data())
def test_selection_does_not_depend_on_case_or_punctuation(name: str, data: st.DataObject) -> None:
    letters = [data.draw(st.sampled_from([c.lower(), c.upper()])) for c in name]
    separator = data.draw(st.sampled_from(["", " ", "-", "_", "."]))
    spelt = separator.join(letters)
    var = make_adata(MASS).var
    assert select_markers(var, [spelt]) == select_markers(var, [name])


def test_an_unknown_name_lists_the_nearest() -> None:
    unknown = r"a\.fcs has no channel called CDD4 \(nearest: CD4\), IgM; cytomoe info FILE lists the channels$"
    with pytest.raises(InputError, match=unknown):
        select_markers(make_adata(FLOW).var, ["CDD4", "IgM", "CD4"], source="a.fcs")


@pytest.mark.parametrize("text", ["CD4 CD8", "CD4;CD8", "CD4; CD8", "CD4;CD8;"])
def test_names_without_commas_are_told_to_be_separated(text: str) -> None:
    with pytest.raises(InputError, match=rf"no channel called {text}; separate names by commas: CD4,CD8$"):
        select_markers(make_adata(FLOW).var, [text])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CD3,CD4", ["CD3", "CD4"]),
        (" CD3 ,, CD4,", ["CD3", "CD4"]),
        ("", []),
        ('CD4, "CD3, x" ,CD8', ["CD4", "CD3, x", "CD8"]),
        ('"CD3, ""x"""', ['CD3, "x"']),
        ('CD3 6",CD4', ['CD3 6"', "CD4"]),
        ('CD3 "a",CD4', ['CD3 "a"', "CD4"]),
        ('CD3 "a",\nCD4', ['CD3 "a"', "CD4"]),
    ],
)
def test_names_are_parted_at_commas_outside_quotes(text: str, names: list[str]) -> None:
    assert names_in(text) == names


def test_a_name_that_holds_a_comma_is_found_quoted_or_alone() -> None:
    var = make_adata([("Nd145Di", "CD3, x"), ("Nd142Di", "CD4"), ("Nd143Di", "x")]).var
    assert select_markers(var, names_in('"CD3, x",CD4')) == ["CD3, x", "CD4"]
    assert select_markers(var, names_in("CD3, x")) == ["CD3, x"]
    with pytest.raises(InputError, match=r'called CD3; put a name that holds a comma in double quotes: "CD3, x"$'):
        select_markers(var, names_in("CD3, x,CD4"))


def test_a_list_that_stands_in_quotes_as_a_whole_is_a_list() -> None:
    var = make_adata([("Nd145Di", "CD3"), ("Nd142Di", "CD4")]).var
    assert select_markers(var, names_in('"CD3,CD4"')) == ["CD3", "CD4"]
    with pytest.raises(InputError, match=r"no channel called CD3,CD5"):
        select_markers(var, names_in('"CD3,CD5"'))


def test_names_that_are_there_go_before_one_that_holds_a_comma() -> None:
    var = make_adata([("Nd145Di", "CD3,CD4"), ("Nd142Di", "CD4"), ("Nd143Di", "CD3")]).var
    assert select_markers(var, names_in("CD3,CD4")) == ["CD3", "CD4"]


def test_an_unknown_name_with_a_blank_is_not_taken_for_several() -> None:
    with pytest.raises(InputError, match=r"cytomoe info FILE lists the channels$"):
        select_markers(make_adata(FLOW).var, ["Alexa 488"])


def test_an_ambiguous_name_lists_the_candidates() -> None:
    var = make_adata([("FITC-A", "HLA-DR"), ("PE-A", "HLA.DR")]).var
    with pytest.raises(InputError, match=r"HLADR may be any of HLA-DR, HLA\.DR"):
        select_markers(var, ["HLADR"])


def test_a_marker_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="CD4 and cd4 name the same channel"):
        select_markers(make_adata(FLOW).var, ["CD4", "CD8", "cd4"])


def test_markers_keep_the_order_they_are_named_in() -> None:
    assert select_markers(make_adata(FLOW).var, ["CD19", "CD4"]) == ["CD19", "CD4"]


SIGNALLING = [("Er170Di", "CD3"), ("Yb171Di", "pStat5(Yb171)Di"), ("Nd144Di", "CD4"), ("Eu153Di", "Ki-67")]


def test_type_stands_for_all_but_signalling_proteins() -> None:
    var = make_adata(SIGNALLING).var
    assert len(select_markers(var, None)) == 4
    assert select_markers(var, ["type"]) == ["CD3", "CD4"]
    assert select_markers(var, ["type"], exclude=["CD3"]) == ["CD4"]


def test_a_channel_called_type_is_that_channel() -> None:
    assert select_markers(make_adata([*SIGNALLING, ("Nd150Di", "type")]).var, ["type"]) == ["type"]


def test_a_file_of_nothing_but_signalling_proteins_has_no_type() -> None:
    with pytest.raises(InputError, match=r"all proteins of a\.fcs look like states of cells; name the markers"):
        select_markers(make_adata(SIGNALLING[1::2]).var, ["type"], source="a.fcs")


def test_the_gate_channel_is_never_a_marker() -> None:
    var = make_adata([("FSC-A", ""), ("CD4", ""), ("truth", "")]).var
    assert select_markers(var, None, exclude=["truth"]) == ["CD4"]
    with pytest.raises(InputError, match="truth can't be a marker"):
        select_markers(var, ["truth"], exclude=["truth"])


def test_a_file_without_proteins_is_refused() -> None:
    with pytest.raises(InputError, match="--markers"):
        select_markers(make_adata([("FSC-A", ""), ("Time", "")]).var, None)


def test_the_choice_is_told_with_what_was_left_out_and_why() -> None:
    var = make_adata([*MASS, *((f"Pd10{i}Di", f"BC{i}") for i in (4, 5, 6))]).var
    markers = select_markers(var, ["CD4", "CD8"])
    assert describe_selection(markers, left_out(var, markers)) == (
        "using 2 markers: 145Nd_CD4, 146Nd_CD8; left out: Time (time), Event_length (length), 191Ir_DNA1 (DNA), "
        "142Nd_CD19, 174Yb_HLA-DR (not chosen), 140Ce (beads), BC4-BC6 (barcode)"
    )


@given(st.lists(st.integers(1, 30), unique=True))
def test_runs_of_names_keep_their_ends(numbers: list[int]) -> None:
    parts = shorten_runs([f"BC{n}" for n in numbers])
    covered = []
    for part in parts:
        first, _, last = part.partition("-")
        covered += list(range(int(first[2:]), int((last or first)[2:]) + 1))
    assert covered == numbers


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing(name: str) -> None:
    assert fold(fold(name)) == fold(name)


@pytest.mark.parametrize(
    ("name", "antigen"),
    [
        ("145Nd_CD4", "CD4"),
        ("CD4(Nd145)Dd", "CD4"),
        ("CD3(110:114)Dd", "CD3"),
        ("CD4_Nd145", "CD4"),
        ("145Nd", ""),
        ("Nd145Di", ""),
        ("CD110", "CD110"),
        ("Ki-67", "Ki-67"),
    ],
)
def test_the_metal_is_taken_off_a_name(name: str, antigen: str) -> None:
    assert without_metal(name) == antigen


def write_panel(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "panel.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_panel_is_read_however_a_spreadsheet_wrote_it(
    tmp_path: Path, delimiter: str, newline: str, encoding: str
) -> None:
    rows = ["channel,marker,use,cofactor", "Nd145Di,CD4,yes,5", "Nd146Di,CD8,yes,2.5", "Ir191Di,DNA1,no,", ""]
    text = newline.join(rows).replace(",", delimiter)
    found = Panel.read(write_panel(tmp_path, text, encoding)).find(make_adata(MASS).var)
    assert [(m.name, m.marker, m.cofactor) for m in found] == [("145Nd_CD4", "CD4", 5.0), ("146Nd_CD8", "CD8", 2.5)]


def test_a_decimal_comma_is_understood_between_semicolons(tmp_path: Path) -> None:
    panel = Panel.read(write_panel(tmp_path, "channel;marker;cofactor\nNd145Di;CD4;2,5\n"))
    assert panel.rows[0].cofactor == 2.5


def test_a_catalyst_panel_is_read_as_it_is(tmp_path: Path) -> None:
    text = "fcs_colname,antigen,marker_class\nNd145Di,CD4,type\nNd146Di,pERK,state\nIr191Di,DNA1,none\n"
    panel = Panel.read(write_panel(tmp_path, text))
    assert [(row.channel, row.marker, row.use) for row in panel.rows] == [
        ("Nd145Di", "CD4", True),
        ("Nd146Di", "pERK", False),
        ("Ir191Di", "DNA1", False),
    ]


def test_without_a_column_use_every_row_is_used(tmp_path: Path) -> None:
    panel = Panel.read(write_panel(tmp_path, "channel\nNd145Di\nNd146Di\n"))
    assert [m.marker for m in panel.find(make_adata(MASS).var)] == ["145Nd_CD4", "146Nd_CD8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,value\nCD4,1\n", "no heading is channel or marker"),
        ("channel,marker,cofator\nNd145Di,CD4,5\n", "'cofator' is not known; nearest: cofactor"),
        ("channel,channel\na,b\n", "two headings mean channel"),
        ("channel,use\nNd145Di,maybe\n", "line 2: use is 'maybe'"),
        ("channel,cofactor\nNd145Di,1e300\n", "line 2: the cofactor '1e300' is not a number from 0.001 to 1,000,000"),
        ("channel,cofactor\n\nNd145Di,five\n", "line 3: the cofactor 'five' is not a number from 0.001 to 1,000,000"),
        ("channel,cofactor\nNd145Di,-5\n", "line 2: the cofactor '-5'"),
        ("channel,cofactor\nNd145Di,inf\n", "line 2: the cofactor 'inf'"),
        ("channel,transform\nNd145Di,cube\n", "line 2: the transform 'cube' is not one of arcsinh, logicle, none"),
        ("channel,marker\nNd145Di,CD4\nNd145Di,CD8\n", "line 3: Nd145Di stands in line 2 already"),
        ("channel,marker\nNd145Di,CD4\nNd146Di,CD4\n", "line 3: the marker CD4 stands in line 2 already"),
        ("channel,use\nNd145Di,no\n", "no row is used"),
        ("channel,marker,use\n,,yes\n", "line 2: neither channel nor marker"),
    ],
)
def test_a_wrong_panel_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Panel.read(write_panel(tmp_path, text))


def test_a_missing_panel_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Panel.read(tmp_path / "nowhere.csv")


def test_a_spreadsheet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "panel.xlsx"
    path.write_bytes(b"PK\x03\x04\x14\x00\x06\x00")
    with pytest.raises(InputError, match="save the table as CSV"):
        Panel.read(path)


def test_panel_channels_that_a_file_lacks_are_all_named(tmp_path: Path) -> None:
    panel = Panel.read(write_panel(tmp_path, "channel,marker\nNd999Di,CD4\nNd145Di,CD8\nXX,CD19\n"))
    with pytest.raises(InputError, match=r"lines 2, 4: hand\.fcs has no channel called Nd999Di, XX"):
        panel.find(make_adata(MASS).var, "hand.fcs")


def test_unused_panel_rows_need_no_channel(tmp_path: Path) -> None:
    panel = Panel.read(write_panel(tmp_path, "channel,use\nNd145Di,yes\nXX,no\n"))
    assert [m.name for m in panel.find(make_adata(MASS).var)] == ["145Nd_CD4"]


def test_two_panel_rows_for_one_channel_are_refused(tmp_path: Path) -> None:
    panel = Panel.read(write_panel(tmp_path, "channel\nNd145Di\nCD4\n"))
    with pytest.raises(InputError, match="line 3: names the channel 145Nd_CD4"):
        panel.find(make_adata(MASS).var)
