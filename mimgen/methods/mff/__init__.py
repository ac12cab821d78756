"""MFF: MAE whose decoder reads a learned mixture of low and high layers (arXiv 2308.00261)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="mff",
    title="Improving Pixel-based MIM by Reducing Wasted Modeling Capability",
    arxiv="2308.00261",
    kind="reconstruct",
    cases=("mff",),
    config="pretrain/mff",
    result="emoji, 145 steps, 2 seeds, equal cost: k-NN 36.6 %, linear 49.4 % (last layer (MAE) 34.4, 49.3 %)",
)
