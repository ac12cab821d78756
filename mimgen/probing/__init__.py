"""Reading labels off frozen encoders."""

from mimgen.probing.features import POOLINGS, Encoder, Features, Pooling, extract, raw_pixels
from mimgen.probing.linear import ProbeResult, linear_probe

__all__ = [
    "POOLINGS",
    "Encoder",
    "Features",
    "Pooling",
    "ProbeResult",
    "extract",
    "linear_probe",
    "raw_pixels",
]
