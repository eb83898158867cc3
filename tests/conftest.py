"""What the tests share: real data where it is at hand, and a small set of cells with known populations."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is; what must be quick has a test of its processor time.
settings.register_profile("cytomoe", deadline=None)
settings.load_profile("cytomoe")


@pytest.fixture(scope="session")
def data():
    """Folder of the real data; the test is skipped where there is none."""
    folder = os.environ.get("CYTOMOE_DATA")
    if not folder:
        pytest.skip("CYTOMOE_DATA is not set; it names the folder of the real data")
    return Path(folder)


@pytest.fixture(scope="session")
def blobs():
    """Transformed values of 4 well separated populations: (cells, markers) float32 and the population of each cell."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 4, 4, 0], [4, 0, 0, 4, 2], [0, 4, 4, 0, 4], [4, 4, 0, 0, 0]], dtype=np.float32)
    populations = np.repeat([0, 1, 2, 3], [600, 400, 250, 150])
    rng.shuffle(populations)
    cells = centres[populations] + rng.normal(0, 0.3, (len(populations), 5))
    return np.maximum(cells, 0).astype(np.float32), populations


@pytest.fixture(scope="session")
def example_run(tmp_path_factory):
    """Folder of a run on two example wells, its clusters named after the table for blood. Not to be changed."""
    from cytomoe.cli.main import run

    example = Path(__file__).parent.parent / "example_data"
    out = tmp_path_factory.mktemp("example") / "run"
    files = [str(example / f"example_{well}.fcs") for well in ("A01", "A02")]
    arguments = [
        "cluster",
        *files,
        "--gate-channel",
        "gate",
        "--reference",
        "pbmc",
        "--out",
        str(out),
        "--quiet",
        "--no-report",
    ]
    assert run(arguments) == 0
    return out


@pytest.fixture(scope="session")
def small_plate(tmp_path_factory):
    """Two small simulated wells."""
    from cytomoe.datasets.simulate import write_plate

    folder = tmp_path_factory.mktemp("plate")
    write_plate(folder, wells=2, events=800, seed=1)
    return sorted(folder.glob("*.fcs"))


@pytest.fixture(scope="session")
def finished(small_plate, tmp_path_factory):
    """Folder of a run on the small wells, with its report. Not to be changed."""
    from cytomoe.cli.main import run

    out = tmp_path_factory.mktemp("run") / "wells"
    assert run(["cluster", *map(str, small_plate), "--gate-channel", "gate", "--out", str(out), "--quiet"]) == 0
    return out
