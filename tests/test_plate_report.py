"""The report of a batch: every well in its place with its share, what failed, and no name that acts."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import write_fcs
from cytomoe.reporting.colours import SEQUENTIAL
from cytomoe.reporting.plates import BatchSummary, colour, write_plate_report

HOSTILE = "<script>alert(1)</script>"


def summary(**changes):
    abundance = pd.DataFrame(
        {
            "sample": ["one", "two", HOSTILE, "loose"],
            "plate": ["p1", "p1", "p2", "p1"],
            "well": ["A01", "H12", "P24", ""],
            "events": [100, 200, 50, 10],
            "cluster_1": [75, 20, 50, 10],
            "cluster_2": [25, 180, 0, 0],
        }
    )
    failed = pd.DataFrame({"sample": ["bad"], "reason": ["cut short"], "plate": ["p1"], "well": ["C03"]})
    arguments = {
        "title": "study", "mode": "pooled", "abundance": abundance, "clusters": ["cluster_1", "cluster_2"],
        "called": {"cluster_1": HOSTILE}, "failed": failed, "command": "cytomoe batch p1 --out study",
    }  # fmt: skip
    return BatchSummary(**(arguments | changes))


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rects, self.tags, self.titles, self.boxes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "rect":
            self.rects.append(dict(attrs))
        if tag == "svg":
            self.boxes.append(dict(attrs)["viewbox"])

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "title":
            self.titles.append(data)


@pytest.fixture
def page(tmp_path):
    parsed = _Page()
    parsed.feed(write_plate_report(tmp_path, summary()).read_text(encoding="utf-8"))
    return parsed


def test_every_well_stands_in_its_place_with_its_share(page):
    assert len(page.rects) == 6  # two clusters on p1's two wells and p2's one; a sample without a well is in no map
    assert {(rect["x"], rect["y"]) for rect in page.rects} == {("17", "17"), ("193", "129"), ("385", "257")}
    assert page.boxes == ["0 0 208 144"] * 2 + ["0 0 400 272"] * 2  # 96 wells, and 384 where a well asks for it
    assert "A01 one: 75 %" in page.titles
    assert "H12 two: 90 %" in page.titles


def test_colours_run_from_none_to_the_highest_share_of_all_plates(page):
    assert colour(0.0, 0.5) == SEQUENTIAL[0]
    assert colour(0.5, 0.5) == SEQUENTIAL[-1]
    by_place = {}
    for rect in page.rects:
        by_place.setdefault((rect["x"], rect["y"]), []).append(rect["fill"])
    assert by_place["193", "129"] == [colour(0.1, 1.0), colour(0.9, 0.9)]
    assert by_place["385", "257"] == [colour(1.0, 1.0), colour(0.0, 0.9)]


def test_nothing_acts_and_nothing_is_loaded(page, tmp_path):
    assert "script" not in page.tags
    text = write_plate_report(tmp_path, summary()).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search(r"(src|href)=.(?!#|data:)", text)
    assert "default-src 'none'" in text


def test_a_batch_of_which_all_failed_has_a_report_too(tmp_path):
    nothing = summary().abundance[:0][["sample", "plate", "well", "events"]]
    text = write_plate_report(tmp_path, summary(abundance=nothing, clusters=[])).read_text(encoding="utf-8")
    assert "cut short" in text


@pytest.mark.parametrize("mode", ["--pooled", "--per-sample"])
def test_a_batch_leaves_the_report(tmp_path, mode):
    folder = tmp_path / "p1"
    folder.mkdir()
    for well, sample in simulate_plate(3, wells=2, events=500).items():
        write_fcs(sample, folder / f"p1_{well}.fcs")
    (folder / "p1_H12.fcs").write_bytes(b"no FCS")
    out = tmp_path / "out"
    assert run(["batch", str(folder), mode, "--out", str(out), "--subsample", "800", "--quiet"]) == 1
    page = _Page()
    page.feed((out / "report.html").read_text(encoding="utf-8"))
    abundance = pd.read_csv(out / "abundance.csv")
    n_clusters = sum("cluster_" in name for name in abundance)
    assert len(page.rects) == 2 * n_clusters
    assert page.titles.count("failed") == n_clusters
    assert json.loads((out / "run.json").read_text())["failed"] == 1
