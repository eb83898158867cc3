"""Experiments with few steps, epochs and images: enough for tables, too few for results.

``python tests/brief.py ARGUMENTS`` runs cytomoe's command line so.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cytomoe.benchmarks.vade import SMALL
from cytomoe.settings import preset

DIGITS = preset("default", experts=10, code_size=4, expert_widths=(8,), encoder_widths=(16,), warm_steps=40, steps=5,
                coef_kl=0.02)  # fmt: skip
CELLS = preset("default", warm_steps=60, steps=5, partitions=3)
GAUSSIANS = preset("default", code_size=10, warm_steps=100, steps=5)


def make_brief(change: Callable[[str, Any], None]) -> None:
    """Shorten the experiments.

    Parameters
    ----------
    change
        Sets an attribute, named with its module, as pytest's ``monkeypatch.setattr`` does.
    """
    for module in ("generation", "ablation", "mnist"):
        change(f"cytomoe.benchmarks.{module}.settings_for", lambda *_: DIGITS)
    change("cytomoe.benchmarks.generation_cells.settings_for", lambda *_: CELLS)
    change("cytomoe.benchmarks.synthetic.settings_for", lambda *_: GAUSSIANS)
    change("cytomoe.benchmarks.synthetic.CELLS_PER_COMPONENT", 60)
    change("cytomoe.benchmarks.weber._SIMULATED", ("Levine_32dim",))
    for name in ("generation._QUICK_DIGITS", "ablation._QUICK_DIGITS", "mnist._QUICK"):
        change(f"cytomoe.benchmarks.{name}", 600)
    change("cytomoe.benchmarks.generation._QUICK_DRAWN", 40)
    change("cytomoe.benchmarks.vade.SMALL", replace(SMALL, widths=(16,), code_size=3))
    change("cytomoe.similarity.projection.umap_projection", lambda points, **_: np.ascontiguousarray(points[:, :2]))


def _set(name: str, value: Any) -> None:
    import importlib

    module, attribute = name.rsplit(".", 1)
    setattr(importlib.import_module(module), attribute, value)


if __name__ == "__main__":
    import sys

    from cytomoe.cli.main import run

    make_brief(_set)
    sys.exit(run(sys.argv[1:]))
