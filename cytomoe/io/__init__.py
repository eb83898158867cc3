"""From FCS files to AnnData and back: every event, every channel, raw values and keywords kept."""

from cytomoe.io.fcs_read import FCSDataSet, open_fcs, read_fcs

__all__ = ["FCSDataSet", "open_fcs", "read_fcs"]
