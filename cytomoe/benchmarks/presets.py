"""Settings of each experiment: ``default`` as it serves the data, and ``paper`` as the appendix prints them."""

from __future__ import annotations

from dataclasses import replace

from cytomoe.settings import PAPER, PRESETS, Settings

# Appendix A.1, with the departures of PAPER (dropout in the clean pass, the weight of DEPICT, the threshold): see
# docs/method.md for the reasons.
_PAPER: dict[str, Settings] = {
    "bodenmiller": PAPER,
    "weber": replace(PAPER, experts=25, steps=30_000, learning_rate=1e-3),
}
_PAPER_OF = {"generation": "mnist", "ablation": "mnist"}

_DEFAULT: dict[str, Settings] = {}


def settings_for(experiment: str, preset: str) -> Settings:
    """Settings of an experiment.

    Parameters
    ----------
    experiment
        Its name.
    preset
        ``default`` or ``paper``.
    """
    own = _PAPER if preset == "paper" else _DEFAULT
    return own.get(_PAPER_OF.get(experiment, experiment), PRESETS[preset])
