"""Events that stand in several of the files that a model maps: found as they go by, and told with the files' names."""

import json
from pathlib import Path

import numpy as np
import pytest
from handmade import make_adata

from cytomoe.cli.main import run
from cytomoe.io import read_fcs, write_fcs
from cytomoe.twins import SharedEvents, hash_events, warn_of_shared_samples, warn_of_twins

EXAMPLE = Path(__file__).parent.parent / "example_data"
CHANNELS = [("Pr141Di", "CD3"), ("Nd142Di", "CD19"), ("Nd143Di", "CD4"), ("Nd144Di", "CD8")]


def some_events(n, seed=0):
    return np.random.default_rng(seed).normal(10, 3, (n, 4)).astype(np.float32)


def file_of(values):
    return make_adata(CHANNELS, values)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A file, and one with a third of its events again."""
    folder = tmp_path_factory.mktemp("exports")
    whole = read_fcs(EXAMPLE / "example_A01.fcs")[:3000].copy()
    write_fcs(whole, folder / "ungated.fcs")
    write_fcs(whole[:1000].copy(), folder / "nk.fcs")
    return [folder / "ungated.fcs", folder / "nk.fcs"]


def warnings_of(folder):
    return [line for line in json.loads((folder / "run.json").read_text())["warnings"] if "more than one" in line]


def test_predict_warns_of_a_file_that_holds_events_of_another(example_run, exports, tmp_path, capsys):
    arguments = ["predict", str(example_run), *map(str, exports), "--out", str(tmp_path / "out"), "--no-report"]
    assert run(arguments) == 0
    (kept,) = warnings_of(tmp_path / "out")
    assert kept.startswith("about 33.3 % of the events stand in more than one file")
    assert "(ungated.fcs and nk.fcs)" in kept
    assert "--gate-pattern" in kept
    assert kept in capsys.readouterr().err


@pytest.mark.parametrize("pattern", [[], ["--gate-pattern", "{gate}.fcs"]], ids=["no pattern", "pattern"])
def test_the_number_of_distinct_events_is_told_where_it_is_known(example_run, exports, pattern, tmp_path, capsys):
    arguments = ["predict", str(example_run), *map(str, exports), "--out", str(tmp_path / "out"), "--no-report"]
    assert run([*arguments, *pattern, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["events"] == 4000
    assert summary.get("distinct_events") == (3000 if pattern else None)


def test_predict_in_pieces_finds_the_same(example_run, exports, tmp_path, monkeypatch):
    monkeypatch.setattr("cytomoe.runs.events.HELD_BYTES", 0)
    monkeypatch.setattr("cytomoe.runs.events.CHUNK_BYTES", 20_000)
    arguments = ["predict", str(example_run), *map(str, exports), "--out", str(tmp_path / "out"), "--no-report"]
    assert run([*arguments, "--quiet"]) == 0
    assert warnings_of(tmp_path / "out")[0].startswith("about 33.3 % of the events")


def test_events_that_the_gate_pattern_counts_once_are_no_warning(example_run, exports, tmp_path):
    pattern = ["--gate-pattern", "{gate}.fcs", "--no-report", "--quiet"]
    assert run(["predict", str(example_run), *map(str, exports), "--out", str(tmp_path / "out"), *pattern]) == 0
    assert warnings_of(tmp_path / "out") == []


def test_files_that_share_nothing_are_no_warning(example_run, tmp_path):
    files = [str(EXAMPLE / f"example_{well}.fcs") for well in ("A01", "A02")]
    assert run(["predict", str(example_run), *files, "--out", str(tmp_path / "out"), "--no-report", "--quiet"]) == 0
    assert warnings_of(tmp_path / "out") == []


@pytest.mark.parametrize("mode", ["--model", "--per-sample"])
def test_a_batch_warns_of_samples_that_hold_the_same_events(mode, example_run, exports, tmp_path, capsys):
    choice = [mode, *([str(example_run / "model.cytomoe")] if mode == "--model" else [])]
    assert run(["batch", *map(str, exports), *choice, "--out", str(tmp_path / "out")]) == 0
    (kept,) = warnings_of(tmp_path / "out")
    assert "stand in more than one sample and count in each (ungated and nk)" in kept
    assert kept in capsys.readouterr().err


def test_the_advice_of_a_fit_suits_every_command():
    values = some_events(100)
    (line,) = warn_of_twins([file_of(values), file_of(values[:50])])
    assert line.endswith("add --gate-pattern, which counts each event once (see cytomoe check)")


def test_many_events_are_compared_by_a_draw_that_keeps_equal_ones(monkeypatch):
    monkeypatch.setattr("cytomoe.twins._DRAWN", 2_000)
    values = some_events(20_000)
    shared = SharedEvents(["a.fcs", "b.fcs"], 30_000)
    shared.look(0, file_of(values))
    shared.look(1, file_of(values[::2]))
    assert sum(len(part) for parts in shared._hashes for part in parts) < 2_400
    share = float(shared.warnings()[0].split()[1])
    assert share == pytest.approx(50, abs=5)


def test_sketches_of_samples_of_other_sizes_tell_the_share():
    values = some_events(20_000)
    sketches = {}
    for name, own in (("all", values), ("gate", values[:4_000]), ("other", some_events(5_000, seed=1))):
        shared = SharedEvents([name], len(own))
        shared.look(0, file_of(own))
        sketches[name] = shared.sketch()
    (line,) = warn_of_shared_samples(sketches)
    assert "(all and gate)" in line
    assert float(line.split()[1]) == pytest.approx(16, abs=6)
    del sketches["gate"]
    assert warn_of_shared_samples(sketches) == []


def test_values_hash_alike_in_both_widths():
    values = some_events(100)
    narrow, wide = file_of(values), file_of(values)
    wide.X = wide.X.astype(np.float64)
    np.testing.assert_array_equal(hash_events(narrow), hash_events(wide))
    assert len(np.unique(hash_events(narrow))) == 100


def test_the_real_exports_of_two_gates_are_told(data, example_run, tmp_path):
    files = [str(data / "bodenmiller" / f"Staurosporine_{gate}_H05.fcs") for gate in ("cd14-surf-", "nk")]
    model, out = tmp_path / "model", tmp_path / "out"
    assert run(["cluster", files[1], "--subsample", "1000", "--out", str(model), "--no-report", "--quiet"]) == 0
    assert run(["predict", str(model), *files, "--out", str(out), "--no-report", "--quiet"]) == 0
    assert "cd14-surf-_H05.fcs and Staurosporine_nk_H05.fcs" in warnings_of(out)[0]
