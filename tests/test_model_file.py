"""Model files: golden files of every version still load and map as they did; damaged and hostile ones are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cytomoe import __version__
from cytomoe.errors import InputError
from cytomoe.estimator import MoESimVAE
from cytomoe.model_file import FORMAT_VERSION

ROOT = Path(__file__).parent.parent
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.cytomoe"))


def take_apart(content: bytes) -> tuple[dict, dict, bytes]:
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["cytomoe"]), content[8 + size :]


def put_together(path: Path, header: dict, description: dict, data: bytes) -> Path:
    text = json.dumps({**header, "__metadata__": {"cytomoe": json.dumps(description)}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_there_is_a_golden_file_of_this_version():
    assert any(path.stem.endswith(__version__) for path in GOLDEN)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_model_still_maps_as_it_did(path):
    model = MoESimVAE.load(path)
    expected = json.loads(path.with_suffix(".json").read_text())
    cells = np.array(expected["cells"], dtype=np.float32)
    codes, clusters, confidence = model.map_all(cells)
    assert clusters.tolist() == expected["clusters"]
    np.testing.assert_allclose(codes, expected["codes"], atol=1e-4)
    np.testing.assert_allclose(confidence, expected["confidence"], atol=1e-4)
    assert model.preprocessor_.describe() == expected["preprocessing"]
    if "outlyingness" in expected:
        np.testing.assert_allclose(model.outlyingness(cells), expected["outlyingness"], atol=1e-4)
    else:
        with pytest.raises(InputError, match="fit it again, or leave --unassigned out"):
            model.outlyingness(cells)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_model_written_again_is_the_same(path, tmp_path):
    first = MoESimVAE.load(path)
    first.save(tmp_path / "again.cytomoe")
    again = MoESimVAE.load(tmp_path / "again.cytomoe")
    for name, tensor in first.network_.state_dict().items():
        assert (again.network_.state_dict()[name] == tensor).all()
    assert again.preprocessor_ == first.preprocessor_
    assert (again.centres_ == first.centres_).all()


def edited(field, value):
    def change(header, description, data):
        *path, last = field
        place = description
        for key in path:
            place = place[key]
        place[last] = value
        return data

    return change


def shape(name, new):
    def change(header, description, data):
        header[name]["shape"] = new
        return data

    return change


def weights(value):
    def change(header, description, data):
        return np.full(len(data) // 4, value, dtype="<f4").tobytes()

    return change


def values(name, repeated):
    def change(header, description, data):
        first, last = header[name]["data_offsets"]
        clusters, edges, markers = header[name]["shape"]
        new = np.broadcast_to(np.array(repeated, dtype="<f4")[:, None], (clusters, edges, markers))
        return data[:first] + new.tobytes() + data[last:]

    return change


HOSTILE = {
    "a newer format": (edited(["format_version"], FORMAT_VERSION + 1), "reads format"),
    "an older format": (edited(["format_version"], 1), "reads format"),
    "no format version": (edited(["format_version"], "1"), "format version"),
    "a billion clusters": (edited(["n_clusters"], 10**9), "a name for each cluster"),
    "no clusters": (edited(["n_clusters"], 0), "is no count"),
    "clusters in words": (edited(["n_clusters"], "three"), "is no count"),
    "a billion dimensions": (edited(["settings", "code_size"], 10**9), "centres have shape"),
    "an endless layer": (edited(["settings", "encoder_widths"], [2**30]), "has shape"),
    "ten thousand layers": (edited(["settings", "encoder_widths"], [8] * 10_000), "fewer tensors than layers"),
    "a layer of no size": (edited(["settings", "gating_widths"], [8, "8"]), "gating_widths"),
    "an unknown setting": (edited(["settings", "shell"], "rm"), "unknown setting shell"),
    "a text for a number": (edited(["settings", "learning_rate"], "fast"), "learning_rate"),
    "no markers": (edited(["preprocessing", "steps"], []), "no markers"),
    "one marker fewer": (lambda h, d, data: (d["preprocessing"]["steps"].pop(), data)[1], "have shape"),
    "a cofactor of zero": (edited(["preprocessing", "steps", 0, "transform", "cofactor"], 0), "cofactor"),
    "a marker that is no text": (edited(["preprocessing", "steps", 0, "marker"], 7), "no text"),
    "a spillover matrix of one row": (
        edited(["preprocessing", "spillover"], {"channels": ["a", "b"], "matrix": [[1, 0]]}),
        "no square",
    ),
    "names for other clusters": (edited(["names", "labels"], ["one"]), "name for each cluster"),
    "not a number": (edited(["preprocessing", "steps", 0, "low"], float("nan")), "NaN is no number"),
    "weights that are not finite": (weights(np.nan), "not finite"),
    "shapes beyond the file": (shape("summary.centres", [10**9, 3]), "damaged"),
    "another program's": (edited(["format"], "other"), "not a cytomoe model"),
    "no ranges": (lambda h, d, data: (h.pop("summary.ranges"), data)[1], "damaged"),
    "ranges upside down": (values("summary.ranges", [3.0, 2.0, 1.0]), "not in order"),
    "an endless range": (values("summary.ranges", [0.0, 1.0, np.inf]), "not finite"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_model_is_refused_in_a_line(tmp_path, case):
    change, message = HOSTILE[case]
    header, description, data = take_apart((ROOT / "tests" / "golden" / "mass_format3_0.1.0.cytomoe").read_bytes())
    data = change(header, description, data)
    path = put_together(tmp_path / "model.cytomoe", header, description, data)
    with pytest.raises(InputError, match=message) as refusal:
        MoESimVAE.load(path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 8,
        (10**9).to_bytes(8, "little") + b"{",
        (2).to_bytes(8, "little") + b"{}",
        b"\x80\x04.",
    ],
)
def test_bytes_that_are_no_model_are_refused(tmp_path, content):
    path = tmp_path / "model.cytomoe"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.cytomoe"):
        MoESimVAE.load(path)


def test_description_nested_beyond_any_depth_is_refused(tmp_path):
    text = json.dumps({"__metadata__": {"cytomoe": "[" * 100_000}}).encode()
    path = tmp_path / "model.cytomoe"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(InputError, match="damaged"):
        MoESimVAE.load(path)


def test_a_pickle_is_never_opened(tmp_path):
    """A file as ``torch.save`` writes it would run the code that it names."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    path = tmp_path / "model.cytomoe"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        MoESimVAE.load(path)
    assert not (tmp_path / "exploded").exists()


def test_no_module_of_cytomoe_unpickles():
    calls = ("pickle.load", "torch.load(", "allow_pickle=True", "joblib.load", "yaml.load", "eval(", "exec(")
    own = ROOT / "cytomoe" / "processes.py"  # answers of processes it started
    for path in set((ROOT / "cytomoe").rglob("*.py")) - {own}:
        text = path.read_text(encoding="utf-8").replace(".eval()", "")
        assert not [call for call in calls if call in text], path


def test_a_short_fuzzing_breaks_no_promise(tmp_path):
    """The long runs of ``benchmarks/fuzz_model.py``, in small."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "fuzz_model.py", "--runs", "300", "--findings", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
