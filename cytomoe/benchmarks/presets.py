"""Settings of each experiment: ``default`` as it serves the data, and ``paper`` as the appendix prints them."""

from __future__ import annotations

from dataclasses import replace

from cytomoe.settings import PAPER, PRESETS, Settings

# Appendix A.1, with the departures of PAPER (dropout in the clean pass, the weight of DEPICT, the threshold): see
# docs/method.md for the reasons.
_PAPER: dict[str, Settings] = {
    "bodenmiller": PAPER,
    "weber": replace(PAPER, experts=25, steps=30_000, learning_rate=1e-3),
    "synthetic": replace(
        PAPER, code_size=10, gating_widths=(100,) * 5, activation="elu", metric="euclidean", batch_size=512, steps=5000,
        learning_rate=1e-3, coef_reconstruction=0.487, coef_clustering=0.487, coef_kl=0.024,
    ),
    "mnist": replace(
        PAPER, experts=10, code_size=68, encoder_widths=(500,), gating_widths=(200,) * 3, expert_widths=(100,),
        activation="elu", similarity="knn", metric="euclidean", neighbours=10, learning_rate=1e-4,
        coef_reconstruction=0.487, coef_clustering=0.487, coef_kl=0.024,
    ),
}  # fmt: skip
_PAPER_OF = {"generation": "mnist", "ablation": "mnist"}

# What serves data that is no cytometry: the similarity comes from the experiment (see benchmarks/similarities.py), and
# training starts from the clusters on which its partitions agree.
_DEFAULT: dict[str, Settings] = {
    "synthetic": Settings(
        # Thirty components that overlap are not told apart in a code of ten dimensions with unit noise.
        code_size=30, encoder_widths=(200,), gating_widths=(100, 100), activation="elu", batch_size=512,
        warm_steps=400, steps=50, learning_rate=3e-3, sampling_power=0.0,
    ),
    "mnist": Settings(
        experts=10, code_size=10, encoder_widths=(300, 100), gating_widths=(100, 100), expert_widths=(100,),
        activation="elu", batch_size=128, warm_steps=900, steps=400, learning_rate=3e-3, sampling_power=0.0,
        coef_kl=0.024,
    ),
}  # fmt: skip


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
