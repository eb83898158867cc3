"""The report: one HTML file that needs nothing but itself.

Names of markers, files, samples and gates come from strangers' files: Jinja escapes every one, and its ``tojson``
writes them into the script so that they can't end it. A content security policy keeps the page from loading anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cytomoe import __version__
from cytomoe.io.atomic import atomic_path
from cytomoe.reporting.colours import cluster_colour
from cytomoe.reporting.findings import headline
from cytomoe.reporting.material import Material, gather
from cytomoe.reporting.methods import methods_of
from cytomoe.reporting.payload import payload_of
from cytomoe.reporting.populations import by_population
from cytomoe.reporting.run_files import RunFiles
from cytomoe.reporting.verdict import judge, remarks_on_files
from cytomoe.words import percent

FILE_NAME = "report.html"
_ASSETS = Path(__file__).parent / "assets"
_SPACE = re.compile(r"(\s+)")
_SCRIPTS = ("core", "frame", "multiples", "map", "heatmap", "panels", "tables", "page")  # in this order


def write_report(folder: Path, *, figures: bool = False) -> Path:
    """Make ``report.html`` in the folder of a run from the run's files; an earlier one is replaced.

    Parameters
    ----------
    folder
        Of a finished run.
    figures
        Whether the figures are also written as PNG and SVG, into ``figures/``.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        If the folder is not that of a finished run, or a file in it can't be read.
    """
    material = gather(by_population(RunFiles.read(folder)))
    page = render(material)
    with atomic_path(folder / FILE_NAME) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a folder's name may be no text
    if figures:
        from cytomoe.reporting.figures import write_figures

        write_figures(material)
    return folder / FILE_NAME


def render(material: Material) -> str:
    """Render the report of a run as one HTML document."""
    return render_page("report.html", _context(material))


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """Render a template with our style; every name in it is escaped.

    Parameters
    ----------
    template
        File in ``assets/``.
    context
        Names that it uses, beside ``style`` and ``report_version``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "percent": percent, "colour": cluster_colour, "unbroken": _unbroken}
    ours = {"style": _asset("report.css"), "report_version": __version__}
    return environment.get_template(template).render(**ours, **context)


def _context(material: Material) -> dict[str, Any]:
    """Names that the template uses."""
    run, clusters = material.run, material.clusters
    findings = judge(run)
    level, words = headline(findings)
    return {
        "title": _title(run),
        "run": run.manifest,
        "n_events": run.n_events,
        "rows": "events" if run.n_events == run.manifest["events"] else "rows",
        "folder": run.folder.name,
        "mapped": "model" in run.manifest,
        "finished": datetime.fromisoformat(run.manifest["finished"]),
        "level": level,
        "headline": words,
        "findings": findings,
        "holders": run.holders,
        "merged": run.manifest.get("merged"),
        "what": run.what,
        "remarks": remarks_on_files(run),
        "clusters": clusters,
        "named": any(record["name"] for record in clusters),
        "stable": run.stability is not None,
        "largest": max(max(record["fraction"] for record in clusters), 1e-9),
        "populated": sum(record["events"] > 0 for record in clusters),
        "without": _without_cluster(run),
        "evaluation": run.evaluation,
        "methods": methods_of(run),
        "data": payload_of(material),
        **scripts(*_SCRIPTS),
    }


def _without_cluster(run: RunFiles) -> list[tuple[str, int, float]]:
    """Why events have no cluster, how many, and their share."""
    reasons = {"far outside the range of their cluster": run.unassigned, "values that are not numbers": run.not_numbers}
    return [(why, number, number / max(run.n_events, 1)) for why, number in reasons.items() if number]


def _title(run: RunFiles) -> str:
    samples = run.manifest["samples"]
    return str(samples[0]) if len(samples) == 1 else f"{run.folder.name}: {len(samples)} samples"


def scripts(*names: str) -> dict[str, Any]:
    """What a page that draws with ECharts has of it beside its data.

    Parameters
    ----------
    names
        Files in ``assets/script/``, without their suffix, of which ours is put together; its names are nobody else's.
    """
    from markupsafe import Markup

    parts = [_asset(f"script/{name}.js") for name in names]
    script = Markup('"use strict";\n(() => {\n{}})();').replace("{}", Markup("\n").join(parts))
    return {"script": script, "echarts": _asset("echarts/echarts.min.js")}


def _asset(name: str) -> Any:
    """Text of our own file, which is not escaped."""
    from markupsafe import Markup

    return Markup((_ASSETS / name).read_text(encoding="utf-8"))


def _unbroken(text: str) -> Any:
    """Markup that keeps options and names whole, which a browser would break behind their hyphens."""
    from markupsafe import Markup

    pieces = (
        Markup('<span class="word">{}</span>' if "-" in piece else "{}").format(piece) for piece in _SPACE.split(text)
    )
    return Markup("").join(pieces)


def _number(value: float) -> str:
    return f"{value:,}"
