"""From FCS files to AnnData and back: every event, every channel, raw values and keywords kept."""

from cytomoe.io.fcs_h5ad import write_h5ad
from cytomoe.io.fcs_read import FCSDataSet, open_fcs, read_fcs, to_anndata
from cytomoe.io.fcs_write import write_fcs

__all__ = ["FCSDataSet", "open_fcs", "read_fcs", "to_anndata", "write_fcs", "write_h5ad"]
