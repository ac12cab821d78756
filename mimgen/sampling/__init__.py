"""Sampling of masked tokens: schedules, orders, guidance and the unmasking loop.

`Schedule` and `Order` are protocols; every other capitalised name of the two families is a member.
"""

from mimgen.sampling.draw import Draw
from mimgen.sampling.guidance import Guidance
from mimgen.sampling.orders import Confidence, Halton, Order, Random, Raster
from mimgen.sampling.sampled import Sampled
from mimgen.sampling.sampler import GuidedPredict, unmask
from mimgen.sampling.schedules import Arccos, Cosine, Known, Linear, Power, Remaining, Schedule
from mimgen.sampling.temperatures import Falling, Ramp, Sharpening, Temperature

__all__ = [
    "Arccos",
    "Confidence",
    "Cosine",
    "Draw",
    "Falling",
    "Guidance",
    "GuidedPredict",
    "Halton",
    "Known",
    "Linear",
    "Order",
    "Power",
    "Ramp",
    "Random",
    "Raster",
    "Remaining",
    "Sampled",
    "Schedule",
    "Sharpening",
    "Temperature",
    "unmask",
]
