"""The report of a batch: every well in its place with its share, what failed, and no name that acts."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import simulate_plate
from cytomoe.io import write_fcs
from cytomoe.reporting.colours import SEQUENTIAL
from cytomoe.reporting.plate_verdict import judge_batch
from cytomoe.reporting.plates import BatchSummary, PlateDrift, colour, write_plate_report
from cytomoe.runs.batch_clusters import profiles

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
    clusters = pd.DataFrame(
        {
            "number": [1, 2], "population": [HOSTILE, "unknown"], "label": ["CD3+", "CD20+"], "events": [155, 205],
            "stability": [0.98, 0.4],
        },
        index=["cluster_1", "cluster_2"],
    )  # fmt: skip
    failed = pd.DataFrame({"sample": ["bad"], "reason": ["cut short"], "plate": ["p1"], "well": ["C03"]})
    arguments = {
        "title": "study", "mode": "pooled", "abundance": abundance, "clusters": clusters,
        "failed": failed, "command": "cytomoe batch p1 --out study",
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
    assert "A01 one: 75.0 %" in page.titles
    assert "H12 two: 90.0 %" in page.titles


def test_unassigned_events_are_told_and_leave_room_in_the_shares(tmp_path):
    counts = summary().abundance
    counts = counts.assign(events=counts["events"] + [100, 0, 0, 0], unassigned=[100, 0, 0, 0])
    text = write_plate_report(tmp_path, summary(abundance=counts)).read_text(encoding="utf-8")
    cells = re.sub(r"<[^>]+>", " ", text)
    assert re.search(r"0\s+unassigned\s+100\s+21.7 %\s+0 % to 50.0 %", cells)
    assert re.search(r"CD3\+\s+155\s+33.7 %", cells)  # of 460 events, not of the 360 in clusters
    assert "100 events are unassigned" in told(summary(abundance=counts))
    assert "unassigned" not in write_plate_report(tmp_path, summary()).read_text(encoding="utf-8")


def test_a_plate_of_which_all_wells_failed_has_no_empty_maps(page, tmp_path):
    failed = summary().failed.assign(plate="p3")
    parsed = _Page()
    text = write_plate_report(tmp_path, summary(failed=failed)).read_text(encoding="utf-8")
    parsed.feed(text)
    assert parsed.boxes == page.boxes
    assert "No sample of this plate has results: see Failed." in text


def test_long_names_are_shown_to_their_ends(tmp_path):
    names = [f"{'donor_' * 10}{end}" for end in ("pre", "post")]
    abundance = summary().abundance.assign(sample=[*names, "two", "three"])
    text = write_plate_report(tmp_path, summary(abundance=abundance)).read_text(encoding="utf-8")
    assert all(
        f'<td class="long" title="p1 {well}">{name}</td>' in text
        for well, name in zip(["A01", "H12"], names, strict=True)
    )
    assert '<td title="p2 P24">two</td>' in text


def test_colours_run_from_none_to_the_highest_share_of_all_plates(page):
    assert colour(0.0, 0.5) == SEQUENTIAL[0]
    assert colour(0.5, 0.5) == SEQUENTIAL[-1]
    by_place = {}
    for rect in page.rects:
        by_place.setdefault((rect["x"], rect["y"]), []).append(rect["fill"])
    assert by_place["193", "129"] == [colour(0.1, 1.0), colour(0.9, 0.9)]
    assert by_place["385", "257"] == [colour(1.0, 1.0), colour(0.0, 0.9)]


def test_profiles_are_dark_where_a_marker_is_highest_and_pale_where_it_hardly_differs(tmp_path):
    medians = pd.DataFrame({"CD3": [4.0, 0.0], HOSTILE: [0.3, -0.04], "CD45": [3.0, 4.0]}, index=[1, 2])
    text = write_plate_report(tmp_path, summary(profiles=medians)).read_text(encoding="utf-8")
    cells = re.findall(r'background: (#[0-9a-f]{6})">(-?[0-9.]+)</td>', text)[:6]
    assert [value for _, value in cells] == ["4.0", "0.3", "3.0", "0.0", "0.0", "4.0"]
    fills = [fill for fill, _ in cells]
    assert fills == [colour(share, 1.0) for share in (1, 0.17, 0, 0, 0, 0.5)]


def test_profiles_are_the_means_of_the_samples_by_their_events():
    clusters = {
        "a": pd.DataFrame({"cluster": [1, 2], "events": [30, 0], "fraction": [1.0, 0.0], "CD3": [2.0, np.nan]}),
        "b": pd.DataFrame({"cluster": [1, 2], "events": [10, 5], "fraction": [0.7, 0.3], "CD3": [4.0, 1.0]}),
    }
    members = pd.DataFrame(
        {"sample": list("aabb"), "cluster": [1, 2] * 2, "number": [1, 2] * 2, "events": [30, 0, 10, 5]}
    )
    assert profiles(clusters, members)["CD3"].to_dict() == {1: 2.5, 2: 1.0}


def test_nothing_acts_and_nothing_is_loaded(page, tmp_path):
    assert "script" not in page.tags
    text = write_plate_report(tmp_path, summary()).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search(r"(src|href)=.(?!#|data:)", text)
    assert "default-src 'none'" in text


def drift(**changes):
    samples = ["one", "two", HOSTILE, "loose"]
    distance = pd.DataFrame({"CD3": [0.1, 0.2, 0.4, 0.1], "CD4": 0.05}, index=samples)
    arguments = {"distance": distance, "left_range": distance > 1, "unfit": pd.Series(0.01, index=samples)}
    arguments["limits"] = pd.Series(0.3, index=samples)
    return PlateDrift(**(arguments | changes))


def told(changed):
    return {finding.title: finding for finding in judge_batch(changed)}


def test_the_verdict_tells_failures_unstable_clusters_and_samples_unlike_the_fit():
    found = told(summary(drift=drift()))
    assert found["1 of 5 samples failed"].level == "check"
    assert "2 (0.40)" in found["1 of 2 clusters is less than stable"].detail
    far = found["Markers of some samples lie far from those of the fit"]
    assert far.level == "check"
    assert far.detail.startswith("<script>")
    assert "(CD3 0.40): distance of the distribution above 0.3" in far.detail
    near = told(summary(drift=drift(distance=drift().distance / 2)))
    assert "CD3 in <script>" in near["The markers of all samples stay in the range of the fit"].detail
    few = drift().limits.where(drift().limits.index != HOSTILE, 0.6)
    assert "CD3 in two" in told(summary(drift=drift(limits=few)))[next(iter(t for t in near if "stay" in t))].detail
    moved = drift(left_range=drift().distance > 0.3, unfit=pd.Series({"one": 0.2, "two": 0.0, HOSTILE: 0, "loose": 0}))
    found = told(summary(drift=moved))
    assert found["In 1 sample values left the range of the fit"].detail == f"{HOSTILE}: CD3."
    assert found["In 1 sample many events fit no cluster"].detail == "one (20.0 %)."


def test_a_batch_that_loses_half_of_its_gates_is_to_be_looked_at():
    measures = pd.DataFrame(
        {"f_measure": [0.9, 0.4], "mean_f1": [0.9, 0.3], "events": 100, "gates": 4, "gates_lost": [1, 2]},
        index=["one", "two"],
    )
    found = told(summary(measures=measures))
    assert found["In 1 sample half of the gates or more match no cluster well"].level == "check"
    assert "F-measure 0.650 (lowest 0.400 in two)" in (
        found["In 1 sample half of the gates or more match no cluster well"].detail
    )
    some = told(summary(measures=measures[:1]))["In 1 sample some gates match no cluster well"]
    assert some.level == "note"
    assert some.detail.startswith("one (1 of 4).")
    assert "Measured against the gates of 1 sample" in told(summary(measures=measures[:1].assign(gates_lost=0)))


def test_warnings_reach_the_verdict_but_remarks_on_files_do_not():
    remark = "a.fcs: $P9R is no range; the values do not depend on it"
    assert not [t for t in told(summary(sample_warnings={"one": [remark]})) if "warning" in t]
    found = told(summary(warnings=["CD4 is saturated"], sample_warnings={"one": ["2 events dropped"], "two": []}))
    assert found["The fit gave a warning:"].detail == "CD4 is saturated."
    assert found["1 sample with warnings of their own"].detail == "one. The first: 2 events dropped."


def test_a_batch_of_which_all_failed_has_a_report_too(tmp_path):
    nothing = summary().abundance[:0][["sample", "plate", "well", "events"]]
    text = write_plate_report(tmp_path, summary(abundance=nothing, clusters=summary().clusters[:0])).read_text(
        encoding="utf-8"
    )
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
