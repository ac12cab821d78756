"""LocalMIM: several layers of the encoder reconstruct, low ones fine, high ones coarse cells (arXiv 2303.05251)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="localmim",
    title="Masked Image Modeling with Local Multi-Scale Reconstruction",
    arxiv="2303.05251",
    kind="reconstruct",
    cases=("localmim",),
    config="pretrain/localmim",
    result="emoji, 103 steps, 2 seeds, equal cost: k-NN 37.8 %, linear 48.6 % (top layer only 38.8, 46.6 %)",
)
