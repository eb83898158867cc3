"""The tables that the paper prints, for the columns beside what is measured here; see ``published/SOURCE.md``."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

OWN = "MoE-Sim-VAE"  # its row or column


def table_1() -> pd.DataFrame:
    """MNIST: columns method, nmi, acc; missing where the paper gives none."""
    return _read("mnist_table_1.csv")


def table_2() -> pd.DataFrame:
    """Weber & Robinson's data sets: columns method, levine_32dim, levine_13dim, samusik_01, samusik_all.

    The row of MoE-Sim-VAE is the F-measure, all others are the mean F1: they can't be compared with each other.
    """
    return _read("weber_table_2.csv")


def table_a1() -> pd.DataFrame:
    """Bodenmiller wells: columns inhibitor, well and the F-measure of moe_sim_vae, flowsom, xshift, phenograph."""
    return _read("bodenmiller_table_a1.csv")


def generation() -> pd.DataFrame:
    """Generation of digits: columns method, threshold, accuracy (published), draws (published), of 100,000 images."""
    return _read("generation.csv")


def _read(name: str) -> pd.DataFrame:
    with (files("cytomoe.benchmarks") / "published" / name).open(encoding="utf-8") as file:
        return pd.read_csv(file)
