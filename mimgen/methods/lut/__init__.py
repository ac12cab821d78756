"""LUT: MAE, and the few visible patches of a view must predict what a teacher sees in the other (arXiv 2310.13593)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="lut",
    title="Learning with Unmasked Tokens Drives Stronger Vision Learners",
    arxiv="2310.13593",
    kind="reconstruct",
    cases=("lut",),
    config="pretrain/lut",
    result="emoji, 46 steps, 2 seeds, equal cost: k-NN 35.2 %, linear 49.3 % (MAE 34.4, 49.3 %)",
)
