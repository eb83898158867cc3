"""From raw channel values to the network's input: panel, compensation, transform, scaling."""

from cytomoe.preprocessing.channels import classify_channels, instrument_evidence, instrument_kind
from cytomoe.preprocessing.compensation import CompensateMode, read_spillover
from cytomoe.preprocessing.markers import describe_selection, find_channel, left_out, select_markers
from cytomoe.preprocessing.panel import Panel
from cytomoe.preprocessing.preprocessor import Preprocessor, TransformChoice, numeric, warn_uncompensated
from cytomoe.preprocessing.steps import MarkerStep
from cytomoe.preprocessing.transform import MarkerTransform, NanPolicy, describe_non_finite, looks_transformed

__all__ = [
    "CompensateMode",
    "MarkerStep",
    "MarkerTransform",
    "NanPolicy",
    "Panel",
    "Preprocessor",
    "TransformChoice",
    "classify_channels",
    "describe_non_finite",
    "describe_selection",
    "find_channel",
    "instrument_evidence",
    "instrument_kind",
    "left_out",
    "looks_transformed",
    "numeric",
    "read_spillover",
    "select_markers",
    "warn_uncompensated",
]
