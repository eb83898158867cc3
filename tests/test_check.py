"""What `cytomoe check` finds before a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData
from handmade import FLOW, MASS, make_adata

from cytomoe.check import Finding, check_files
from cytomoe.cli.main import run
from cytomoe.errors import FCSError, InputError
from cytomoe.io import fcs_read
from cytomoe.io.raw_events import RawEvents
from cytomoe.preprocessing import Panel
from cytomoe.saturation import ceilings
from cytomoe.twins import hash_events, warn_of_twins

EXAMPLE = Path(__file__).parent.parent / "example_data" / "example_A01.fcs"
DATA = os.environ.get("CYTOMOE_DATA")
Files = Callable[..., list[str]]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Make AnnData readable under the names a.fcs, b.fcs, ...; an exception is raised on reading."""

    def make(*contents: AnnData | Exception) -> list[str]:
        stored = {f"{letter}.fcs": content for letter, content in zip("abcdef", contents, strict=False)}

        def open_fcs(path: str, **_: object) -> AnnData:
            content = stored[path]
            if isinstance(content, Exception):
                raise content
            content.uns["fcs"]["path"] = path
            return content

        monkeypatch.setattr(fcs_read, "open_fcs", open_fcs)
        monkeypatch.setattr(fcs_read, "read_events", lambda opened: RawEvents(opened.X, opened.var, opened.uns))
        return list(stored)

    return make


def mass(seed: int = 0, events: int = 2_000) -> AnnData:
    return make_adata(MASS, seed=seed, events=events)


def serious(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "note"]


def messages(findings: list[Finding], level: str, file: str) -> str:
    return "\n".join(f.message for f in findings if (f.level, f.file) == (level, file))


def test_good_files_give_notes_only(files: Files) -> None:
    findings = check_files(files(mass(0), mass(1)))
    assert serious(findings) == []
    assert "using 4 markers: 142Nd_CD19" in messages(findings, "note", "a.fcs")


def test_an_unreadable_file_does_not_hide_the_others(files: Files) -> None:
    findings = check_files(
        files(mass(), FCSError("b.fcs", "is cut off", expected="100 events"), OSError(2, "No such file"))
    )
    assert messages(findings, "error", "b.fcs") == "can't be read: is cut off; expected 100 events"
    assert messages(findings, "error", "c.fcs") == "can't be read: No such file"
    assert messages(findings, "note", "a.fcs")


def test_no_readable_file_is_an_error(files: Files) -> None:
    assert messages(check_files(files(InputError("no"))), "error", "") == "no file can be read"


def test_missing_markers_are_named_with_the_nearest(files: Files) -> None:
    lacking = mass(1)[:, [n for n in mass().var_names if n != "145Nd_CD4"]].copy()
    findings = check_files(files(mass(), lacking), markers=["CD4", "CD8"])
    assert messages(findings, "error", "b.fcs").startswith("lacks 1 of the 2 markers: 145Nd_CD4 (nearest: ")


def test_an_unknown_marker_is_reported_for_every_file(files: Files) -> None:
    findings = check_files(files(mass(0), mass(1)), markers=["CD5"])
    assert {f.file for f in findings if f.level == "error" and "CD5" in f.message} == {"a.fcs", "b.fcs"}


def test_panel_differences_are_told(files: Files) -> None:
    other = make_adata([*MASS, ("Lu175Di", "175Lu_PD-1")], events=2_000, seed=1)
    findings = check_files(files(mass(), other))
    assert messages(findings, "warning", "b.fcs") == "its panel differs from that of a.fcs: adds Lu175Di (PD-1)"


def test_another_instrument_is_an_error(files: Files) -> None:
    findings = check_files(files(mass(), make_adata(FLOW, events=2_000)), markers=["CD4", "CD8"])
    assert "is fluorescence cytometry" in messages(findings, "error", "b.fcs")


def test_values_that_are_no_numbers_are_counted(files: Files) -> None:
    adata = mass()
    adata.X[:3, 4] = np.nan
    assert "145Nd_CD4 (3 NaN)" in messages(check_files(files(adata)), "error", "a.fcs")


def test_a_constant_marker_is_told(files: Files) -> None:
    adata = mass()
    adata.X[:, 4] = 1
    assert messages(check_files(files(adata)), "warning", "a.fcs") == "has the same value in every event: 145Nd_CD4"


def test_transformed_values_are_an_error_unless_taken_as_they_are(files: Files) -> None:
    paths = files(make_adata(MASS, np.arcsinh(mass().X / 5)))
    assert "look transformed already" in messages(check_files(paths), "error", "a.fcs")
    assert serious(check_files(paths, transform="none")) == []


def test_raw_values_to_be_taken_as_they_are_are_an_error_as_in_cluster(files: Files) -> None:
    errors = messages(check_files(files(mass()), transform="none"), "error", "a.fcs")
    assert errors.endswith("such values are not transformed, and cells can't be told apart on that scale")
    assert serious(check_files(files(mass()), transform="arcsinh")) == []


def test_check_and_cluster_refuse_raw_values_in_the_same_words(tmp_path, capsys) -> None:
    arguments = [str(EXAMPLE), "--transform", "none"]
    assert run(["check", *arguments]) == 2
    told = capsys.readouterr().out
    assert run(["cluster", *arguments, "--out", str(tmp_path / "out")]) == 2
    reason = capsys.readouterr().err.split("Error: ")[-1].split(":")[0]
    assert f"{reason}: such values are not transformed" in told


def test_few_events_are_told(files: Files) -> None:
    assert "only 300 events" in messages(check_files(files(mass(events=300))), "warning", "")


def test_an_empty_file_is_told(files: Files) -> None:
    findings = check_files(files(mass(), make_adata(MASS, np.empty((0, len(MASS))))))
    assert messages(findings, "warning", "b.fcs") == "holds no events"


def test_events_in_two_files_are_counted(files: Files) -> None:
    second = mass(1)
    second.X[:50] = mass(0).X[100:150]
    findings = check_files(files(mass(0), second))
    assert "50 of 3,950 events stand in more than one file (most: a.fcs and b.fcs 50)" in messages(
        findings, "warning", ""
    )


def test_events_repeated_in_a_file_are_counted(files: Files) -> None:
    adata = mass()
    adata.X[1_000:] = adata.X[:1_000]
    assert "1,000 of 2,000 events repeat" in messages(check_files(files(adata)), "warning", "a.fcs")


def test_a_file_given_twice_is_an_error(files: Files) -> None:
    paths = files(mass())
    assert messages(check_files(paths * 2), "error", "a.fcs") == "is given twice"


def test_a_matrix_that_does_not_serve_is_a_warning(files: Files) -> None:
    adata = make_adata(FLOW, keywords={"$SPILLOVER": "2,FITC-A,PE-A"}, events=2_000)
    assert "lists 2 channels but no values" in messages(check_files(files(adata)), "warning", "a.fcs")


def test_insisting_on_a_missing_matrix_is_an_error(files: Files) -> None:
    findings = check_files(files(make_adata(FLOW, events=2_000)), compensate="yes")
    assert "the file holds no spillover matrix" in messages(findings, "error", "a.fcs")


def test_a_cofactor_beyond_the_values_is_a_warning(files: Files) -> None:
    adata = make_adata(FLOW, np.random.default_rng(0).uniform(0, 40, (2_000, len(FLOW))))
    assert "the cofactor is 150" in messages(check_files(files(adata)), "warning", "a.fcs")


def flow_of(highest: float) -> AnnData:
    """Fluorescence whose brightest cells reach a value."""
    values = np.abs(np.random.default_rng(0).normal(0, 60, (2_000, len(FLOW))))
    values[::2] += highest / 2
    values[0] = highest
    return make_adata(FLOW, values)


@pytest.mark.parametrize(
    ("highest", "cofactor", "told"),
    [(200_000, 5, True), (200_000, None, False), (200_000, 50, False), (9_000, 5, False)],
)
def test_the_cofactor_of_mass_cytometry_on_fluorescence_is_a_warning(files, highest, cofactor, told) -> None:
    found = messages(check_files(files(flow_of(highest)), cofactor=cofactor), "warning", "a.fcs")
    assert ("the cofactor 5 on fluorescence that reaches 200,000" in found) == told


def test_the_cofactor_of_fluorescence_on_mass_cytometry_is_a_warning(files: Files) -> None:
    assert "leave it out for 5" in messages(check_files(files(mass()), cofactor=150), "warning", "a.fcs")
    assert "leave it out" not in messages(check_files(files(mass())), "warning", "a.fcs")


def test_the_cofactor_of_one_marker_in_a_panel_is_judged_too(files: Files, tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text("channel,marker,use,cofactor\nFITC-A,CD4,1,5\nPE-A,CD8,1,\n")
    found = check_files(files(flow_of(200_000)), panel=Panel.read(tmp_path / "panel.csv"))
    assert "the cofactor 5 (of CD4) on fluorescence" in messages(found, "warning", "a.fcs")


def test_chosen_markers_that_measure_no_protein_are_a_warning(files: Files) -> None:
    found = check_files(files(mass()), markers=["CD4", "CD8", "Time", "Event_length", "DNA1", "Ce140"])
    told = messages(found, "warning", "a.fcs")
    assert "no protein, and part clusters as those do: Time (time), Event_length (length), 191Ir_DNA1 (DNA)" in told
    assert "140Ce (beads)" in told
    assert "no protein" not in messages(check_files(files(mass()), markers=["CD4", "CD8"]), "warning", "a.fcs")


def test_scatter_among_the_markers_is_no_warning(files: Files) -> None:
    found = check_files(files(flow_of(200_000)), markers=["CD4", "CD8", "FSC-A"])
    assert "no protein" not in messages(found, "warning", "a.fcs")


def test_a_run_warns_of_what_its_markers_and_cofactor_contradict(tmp_path, capsys) -> None:
    markers = "CD3,CD4,CD7,CD20,Cell_length"
    arguments = [str(EXAMPLE), "--subsample", "1500", "--h5ad", "no", "--markers", markers, "--cofactor", "150"]
    for command in ("cluster", "batch"):
        out = tmp_path / command
        assert run([command, *arguments, "--out", str(out)]) == 0
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning: ")]
        kept = json.loads((out / "run.json").read_text())["warnings"]
        for words in ("measure no protein, and part clusters as those do: Cell_length", "the cofactor 150 on mass"):
            assert sum(words in line for line in told) == 1
            assert sum(words in line for line in kept) == 1


def test_a_smaller_cofactor_is_no_warning(files: Files) -> None:
    adata = make_adata(FLOW, np.random.default_rng(0).uniform(0, 40, (2_000, len(FLOW))))
    assert serious(check_files(files(adata), cofactor=5)) == []


def test_what_the_reader_noticed_is_passed_on(files: Files) -> None:
    adata = mass()
    adata.uns["fcs"]["warnings"] = ["holds 2 data sets"]
    assert messages(check_files(files(adata)), "warning", "a.fcs") == "holds 2 data sets"


def test_errors_come_first_and_findings_are_ready_for_json(files: Files) -> None:
    findings = check_files(files(mass(events=300), InputError("no")))
    levels = [f["level"] for f in json.loads(json.dumps([finding.to_dict() for finding in findings]))]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert levels[0] == "error"


def test_equal_events_hash_alike_in_any_channel_order() -> None:
    adata = mass(events=50)
    np.testing.assert_array_equal(hash_events(adata), hash_events(adata[:, ::-1].copy()))


def test_a_change_of_one_value_changes_the_hash() -> None:
    changed = mass(events=50)
    changed.X[7, 2] += 1
    assert np.flatnonzero(hash_events(mass(events=50)) != hash_events(changed)).tolist() == [7]


def test_negative_zero_is_zero() -> None:
    zeros = np.zeros((1, len(MASS)))
    assert hash_events(make_adata(MASS, zeros))[0] == hash_events(make_adata(MASS, -zeros))[0]


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
def test_the_overlap_of_exported_gates_is_found() -> None:
    paths = sorted(Path(DATA or "", "bodenmiller").glob("*_H05.fcs"))
    findings = check_files(paths, markers=["CD3", "HLADR"])
    assert "Staurosporine_cd14-surf-_H05.fcs and Staurosporine_nk_H05.fcs 1,644" in messages(findings, "warning", "")
    assert not [f for f in findings if f.level == "error"]


def test_files_that_share_events_are_said_to():
    values = np.random.default_rng(0).normal(10, 3, (200, len(MASS))).astype(np.float32)
    first, second = make_adata(MASS, values[:120]), make_adata(MASS, values[100:])
    assert warn_of_twins([first, second])[0].startswith("20 of 200 events")
    assert warn_of_twins([first, make_adata(MASS, values[120:])]) == []
    assert warn_of_twins([first]) == []


# ------------------------------------------------------------------ saturated channels


def test_a_saturated_marker_is_told_with_its_share(files: Files) -> None:
    adata = mass()
    at = list(adata.var_names).index("145Nd_CD4")
    adata.X[:, at] = np.minimum(adata.X[:, at], np.quantile(adata.X[:, at], 0.97))
    found = messages(check_files(files(adata)), "warning", "a.fcs")
    assert found.startswith("saturated: 145Nd_CD4 (3.0 % of the events at ")


@pytest.mark.parametrize(
    ("values", "saturated"),
    [
        (np.minimum(np.random.default_rng(0).exponential(100, 5000), 500), True),  # 0.7 %
        (np.minimum(np.random.default_rng(0).exponential(100, 5000), 600), False),  # 0.2 %
        (np.random.default_rng(0).poisson(0.5, 5000), False),  # few whole numbers, a tail
        (np.arange(5000) % 2, False),  # a gate
        (np.full(5000, 7), False),  # constant, which is another finding
        (np.repeat(np.random.default_rng(0).exponential(100, 500), 10), False),  # every event ten times
        (np.r_[np.full(9, 50), np.arange(20)], False),  # too few to tell
        (np.r_[np.nan, np.inf, np.minimum(np.random.default_rng(0).exponential(100, 5000), 300)], True),
    ],
)
def test_saturation_is_a_pile_at_the_highest_value(values: np.ndarray, saturated: bool) -> None:
    assert bool(ceilings(values[:, None], ["CD4"])) == saturated


@pytest.mark.skipif(DATA is None, reason="CYTOMOE_DATA is not set")
def test_real_files_are_not_called_saturated_but_for_one_that_is() -> None:
    folder = Path(DATA or "")
    for path in (
        "bodenmiller/Staurosporine_nk_H05.fcs",
        "flow/mouse_spleen_raw.fcs",
        "flow/Nilsson_rare_notransform.fcs.gz",
    ):
        assert not [f for f in check_files([folder / path]) if f.message.startswith("saturated")]
    found = check_files([folder / "fcs_zoo" / "0877408774.F06"])
    assert "saturated: FL4-H (5.4 % of the events at 1023)" in messages(found, "warning", found[0].file)
