"""What a process that makes partitions imports, before it is told what to do.

Its name is all that a run needs to start one, before numpy and the rest are loaded.
"""

import scipy.cluster.hierarchy
import scipy.ndimage  # noqa: F401

import cytomoe.similarity.valleys  # noqa: F401
