"""AttMask: iBOT with the teacher's attention choosing what to mask (arXiv 2203.12719)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="attmask",
    title="What to Hide from Your Students: Attention-Guided Masked Image Modeling",
    arxiv="2203.12719",
    kind="reconstruct",
    cases=("attmask",),
    config="pretrain/attmask",
    result="emoji, 16 steps, 2 seeds, equal cost: k-NN 36.5 %, linear 48.0 % (random 36.7, 47.9 %)",
)
