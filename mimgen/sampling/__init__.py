"""Sampling of masked tokens: schedules, orders, guidance and the unmasking loop.

`Schedule` and `Order` are protocols; every other capitalised name of the two families is a member.
"""

from mimgen.sampling.guidance import Guidance
from mimgen.sampling.orders import Confidence, Halton, Order, Random, Raster
from mimgen.sampling.sampler import Sampled, unmask
from mimgen.sampling.schedules import Arccos, Cosine, Linear, Schedule

__all__ = [
    "Arccos",
    "Confidence",
    "Cosine",
    "Guidance",
    "Halton",
    "Linear",
    "Order",
    "Random",
    "Raster",
    "Sampled",
    "Schedule",
    "unmask",
]
