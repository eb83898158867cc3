"""The report in a browser: it draws without an error on the console and fits a phone."""

import os
import re
import shutil
import subprocess

import pytest
from test_report import disguise

from cytomoe.reporting.page import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
# Runs after the report's own script and says on the console what became of the page.
PROBE = """<script>console.log(`PROBE ready=${document.body.dataset.ready} width=${innerWidth} \
content=${document.documentElement.scrollWidth} drawn=${document.querySelectorAll(".chart svg path").length} \
title=${document.title} END`)</script>"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser to look at the report with; looked for {', '.join(BROWSERS)}")
    return found


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    """Report of a run whose names would run a script, were they not escaped."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("browser") / "run")
    disguise(folder)
    return write_report(folder)


def console(browser, page, *, width):
    """What the browser's console says of a page, shown in a frame so that it can be narrower than a window may be."""
    probed = page.with_name(f"probed_{width}.html")
    text = page.read_text(encoding="utf-8")
    at = text.rindex("</body>")
    probed.write_text(text[:at] + PROBE + text[at:], encoding="utf-8")
    frame = page.with_name(f"frame_{width}.html")
    frame.write_text(f'<iframe src="{probed.name}" style="width:{width}px;height:900px;border:0"></iframe>')
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}", "--window-size=1400,1000", "--virtual-time-budget=8000",
        f"--screenshot={page.parent / f'shot_{width}.png'}", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return re.findall(r"CONSOLE[^\]]*\] \"?(.*)", done.stderr)


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_the_report_draws_without_an_error_and_fits(browser, report, width):
    lines = console(browser, report, width=width)
    assert len(lines) == 1, lines  # ours; any other is an error or a warning of the page
    said = re.match(r"PROBE ready=yes width=(\d+) content=(\d+) drawn=(\d+) title=(.*?) END", lines[0])
    assert said, lines
    assert int(said[1]) == width
    assert int(said[2]) <= width  # nothing stands out at the side
    assert int(said[3]) > 50
    assert said[4].endswith("· cytomoe")
