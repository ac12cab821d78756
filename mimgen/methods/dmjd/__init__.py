"""DMJD: two views that mask different patches, and a second branch for what is visible (arXiv 2301.00230)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="dmjd",
    title="Disjoint Masking with Joint Distillation for Efficient Masked Image Modeling",
    arxiv="2301.00230",
    kind="reconstruct",
    cases=("dmjd",),
    config="pretrain/dmjd",
    result=(
        "emoji, 57 steps, 2 seeds, equal cost: k-NN 40.4 %, linear 49.0 % (independent views, no visible "
        "branch 39.3, 48.9 %)"
    ),
)
