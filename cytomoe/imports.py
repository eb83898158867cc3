"""The import of large packages, which takes a good part of a short command."""

from __future__ import annotations

import gc
from importlib import import_module


def load(package: str) -> None:
    """Import a package without searching its modules for garbage again and again, which takes a sixth of the time."""
    searching = gc.isenabled()
    gc.disable()
    try:
        import_module(package)
    finally:
        if searching:
            gc.enable()
