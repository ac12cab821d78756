"""HPM: mask the patches that a teacher expects to be hard, more of them as training proceeds (arXiv 2304.05919)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="hpm",
    title="Hard Patches Mining for Masked Image Modeling",
    arxiv="2304.05919",
    kind="reconstruct",
    cases=("hpm", "hpm_mask"),
    config="pretrain/hpm",
    result="emoji, 65 steps, 2 seeds, equal cost: k-NN 34.8 %, linear 48.8 % (MAE 34.4, 49.3 %)",
)
