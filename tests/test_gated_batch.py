"""A batch of files that hold a gate each: samples from their names, measures against the gates."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.errors import InputError
from cytomoe.io import read_fcs, write_fcs
from cytomoe.plates.samples import find_samples, more_plates_than_wells

EXAMPLE = Path(__file__).parent.parent / "example_data"
PATTERN = "{plate}_{gate}_{well}.fcs"


def test_a_plate_keeps_the_minus_of_its_name():
    plates = [sample.plate for sample in find_samples(["x_igm-_H05.fcs", "x_igm+_H05.fcs", "plate-1-A01.fcs"])]
    assert plates == ["x_igm-", "x_igm+", "plate-1"]


def test_a_misspelt_field_of_a_pattern_is_refused_and_parts_can_be_passed_over():
    with pytest.raises(InputError, match=r"no field is called \{plat\}; nearest: plate; there are \{plate\}, \{well\}"):
        find_samples(["a_H05.fcs"], "{plat}_{well}.fcs")
    (sample,) = find_samples(["a_20200101_H05.fcs"], "{plate}_{_date}_{well}.fcs")
    assert (sample.plate, sample.well) == ("a", "H05")


def test_files_of_gates_taken_for_plates_are_hinted_at():
    files = [f"x_{gate}_{well}.fcs" for gate in ("cd4", "cd8", "nk") for well in ("H01", "H05")]
    assert "--well-pattern" in more_plates_than_wells(find_samples(files))
    assert not more_plates_than_wells(find_samples(files, None, PATTERN))
    assert not more_plates_than_wells(find_samples(["p1_A01.fcs", "p2_A01.fcs", "p1_A02.fcs", "p2_A02.fcs"]))


def test_files_of_gates_are_one_sample_measured_against_their_gates(data, tmp_path, capsys):
    """A real well: events of overlapping gates train once; one sample in every table; the measures in that of all."""
    wells = sorted(map(str, (data / "bodenmiller").glob("*_H01.fcs")))
    out = tmp_path / "out"
    chosen = ["--markers", "CD3,CD4,CD20,CD33,CD14,CD7,HLA-DR", "--subsample", "2000"]
    assert run(["batch", *wells, "--gate-pattern", PATTERN, "--out", str(out), *chosen]) == 0
    printed = capsys.readouterr()
    assert "stand in more than one file" not in printed.err
    well = out / "wells" / "Staurosporine_H01"
    assert pd.read_csv(well / "abundance.csv")["sample"].tolist() == ["Staurosporine_H01"]
    found = json.loads((well / "evaluation.json").read_text())["unique"]
    assert found["f_measure"] > 0.8
    measures = pd.read_csv(out / "measures.csv", index_col="sample")
    assert measures.loc["Staurosporine_H01", "f_measure"] == pytest.approx(found["f_measure"])
    manifest, abundance = json.loads((out / "run.json").read_text()), pd.read_csv(out / "abundance.csv")
    assert manifest["samples"]["Staurosporine_H01"]["events"] == abundance["events"][0] == 4553  # 6,316 rows
    page = (out / "report.html").read_text()
    assert f"<dd>{found['f_measure']:.3f}</dd>" in page
    assert 'id="drift"' in page
    assert f"report: {out / 'report.html'}" in printed.out


@pytest.mark.parametrize("mode", ["--pooled", "--per-sample"])
def test_a_batch_whose_gates_are_all_too_small_is_finished_and_says_so(small_plate, tmp_path, mode):
    for path in small_plate:
        shutil.copy(path, tmp_path / path.name.replace("example_", "p_all_"))
    wells, out = sorted(map(str, tmp_path.glob("p_*.fcs"))), tmp_path / "out"
    chosen = ["--gate-pattern", PATTERN, "--min-population", "1000000", "--quiet"]
    assert run(["batch", *wells, *chosen, mode, "--out", str(out)]) == 0
    assert "No gate of any sample is large enough to measure" in (out / "report.html").read_text()
    assert (out / "run.json").is_file()


@pytest.mark.parametrize("mode", ["--pooled", "--per-sample"])
def test_gates_in_a_channel_are_no_marker_and_measure_each_sample(small_plate, tmp_path, mode):
    """The channel is one that cytomoe would take for a protein, were it not told."""
    for path in small_plate:
        sample = read_fcs(path)
        sample.var = sample.var.assign(antigen=sample.var["antigen"].replace("gate", "Pop"))
        sample.var["channel"] = sample.var["channel"].replace("gate", "Pop")
        write_fcs(sample, tmp_path / path.name)
    names = tmp_path / "names.csv"
    shutil.copy(EXAMPLE / "gates.csv", names)
    arguments = ["batch", str(tmp_path / "*.fcs"), "--gate-channel", "Pop", "--gate-names", str(names), mode, "--quiet"]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 0
    measures = pd.read_csv(tmp_path / "out" / "measures.csv")
    assert measures["sample"].tolist() == [path.stem for path in small_plate]
    well = tmp_path / "out" / "wells" / small_plate[0].stem
    found = json.loads((well / "evaluation.json").read_text())["unique"]
    assert measures["f_measure"][0] == pytest.approx(found["f_measure"], abs=1e-6)
    assert "CD4 T cells" in pd.read_csv(well / "evaluation.csv")["gate"].tolist()
    assert "Pop" not in pd.read_csv(well / "clusters.csv").columns


def test_other_names_of_gates_are_worked_on_anew_by_resume(small_plate, tmp_path):
    names = tmp_path / "names.csv"
    shutil.copy(EXAMPLE / "gates.csv", names)
    arguments = ["batch", str(small_plate[0]), "--per-sample", "--gate-channel", "gate", "--gate-names", str(names)]
    arguments += ["--out", str(tmp_path / "out"), "--quiet", "--resume"]
    assert run(arguments) == 0
    names.write_text(names.read_text().replace("NK cells", "natural killers"))
    assert run(arguments) == 0
    gates = pd.read_csv(tmp_path / "out" / "wells" / small_plate[0].stem / "evaluation.csv")["gate"].tolist()
    assert "natural killers" in gates
