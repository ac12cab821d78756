"""Sampling of masked tokens: schedules, orders, guidance and the unmasking loop.

`Schedule` and `Order` are protocols; every other capitalised name of the two families is a member.
"""

from mimgen.sampling.guidance import Guidance
from mimgen.sampling.orders import Confidence, Halton, Order, Random, Raster
from mimgen.sampling.sampled import Sampled
from mimgen.sampling.sampler import GuidedPredict, unmask
from mimgen.sampling.schedules import Arccos, Cosine, CountSchedule, Linear, Power, Remaining, Schedule
from mimgen.sampling.temperatures import Falling, Ramp, Sharpening, Temperature
from mimgen.sampling.token_sampler import TokenSampler

__all__ = [
    "Arccos",
    "Confidence",
    "Cosine",
    "CountSchedule",
    "Falling",
    "Guidance",
    "GuidedPredict",
    "Halton",
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
    "TokenSampler",
    "unmask",
]
