"""What people look at: the report of a run, one HTML file made from the run's own files.

:func:`cytomoe.reporting.page.render` makes the page from a :class:`cytomoe.reporting.run_files.RunFiles`; nothing here
knows how a run was computed.
"""
