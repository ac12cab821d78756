"""The words by which a saved pipeline names its sampling order and schedule."""

from __future__ import annotations

from mimgen.sampling import Arccos, Confidence, Cosine, Halton, Linear, Order, Random, Raster, Schedule

ORDERS: dict[str, Order] = {
    "confidence": Confidence(),
    "halton": Halton(),
    "random": Random(),
    "raster": Raster(),
}
SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "linear": Linear(), "arccos": Arccos()}
