"""cytomoe: cell populations from cytometry files, clustered, mapped, generated and measured with MoE-Sim-VAE."""

from __future__ import annotations

__version__ = "0.1.0"
