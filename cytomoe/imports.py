"""The import of large packages, which takes a good part of a short command."""

from __future__ import annotations

import gc
from contextlib import ExitStack
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


def load_umap() -> None:
    """Import UMAP, also where neither its folder nor the user's can be written.

    As it is imported it asks numba to keep what is compiled, which is refused then; so it does not ask.
    """
    try:
        import_module("umap")
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        from numba.core.dispatcher import Dispatcher
        from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

        with ExitStack() as asked:
            for kind in (Dispatcher, UFuncDispatcher):
                asked.callback(setattr, kind, "enable_caching", kind.enable_caching)
                setattr(kind, "enable_caching", lambda function: None)  # noqa: B010
            import_module("umap")
