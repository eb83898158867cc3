"""cytomoe: cell populations from cytometry files, clustered, mapped, generated and measured with MoE-Sim-VAE.

cells = cytomoe.read_fcs("sample.fcs")
model = cytomoe.cluster(cells)           # writes cells.obs["cytomoe"], cells.obsm["X_moesimvae"]
other = model.predict(cytomoe.read_fcs("other.fcs"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytomoe.estimator import MoESimVAE
    from cytomoe.io import read_fcs, write_fcs, write_h5ad
    from cytomoe.scverse import cluster

__version__ = "0.1.0"
__all__ = ["MoESimVAE", "__version__", "cluster", "read_fcs", "write_fcs", "write_h5ad"]

# Where each public name lives. They are imported at first use: torch alone takes seconds.
_HOMES = {
    "MoESimVAE": "cytomoe.estimator",
    "cluster": "cytomoe.scverse",
    "read_fcs": "cytomoe.io",
    "write_fcs": "cytomoe.io",
    "write_h5ad": "cytomoe.io",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cytomoe' has no attribute '{name}'")
    from importlib import import_module

    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
