"""Reports of a run whose cells.h5ad a user has worked on."""

import shutil

import anndata
import numpy as np

from cytomoe.reporting.run_files import RunFiles


def test_cells_that_were_saved_with_columns_of_other_kinds_are_read(example_run, tmp_path):
    folder = shutil.copytree(example_run, tmp_path / "run", ignore=shutil.ignore_patterns("fcs"))
    before = RunFiles.read(folder).cells
    saved = anndata.read_h5ad(folder / "cells.h5ad")
    saved.obs["cytomoe"] = saved.obs["cytomoe"].astype(int).astype("category")
    saved.obs["event"] = saved.obs["event"].astype("Int64")
    saved.obs["file"] = saved.obs["file"].astype(str)
    saved.strings_to_categoricals = lambda *_: None  # as text
    saved.write_h5ad(folder / "cells.h5ad")
    after = RunFiles.read(folder).cells
    for name in ("cluster", "event"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert list(after.file) == list(before.file)
    assert list(after.gate[:100]) == list(before.gate[:100])
