"""CCViT: predict the centroid of masked and of replaced patches, and their pixels (arXiv 2303.04664)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="ccvit",
    title="Centroid-centered Modeling for Efficient Vision Transformer Pre-training",
    arxiv="2303.04664",
    kind="reconstruct",
    cases=("ccvit",),
    config="pretrain/ccvit",
    result="emoji, 99 steps, 2 seeds, equal cost: k-NN 34.5 %, linear 46.0 % (MAE 34.4, 49.3 %)",
)
