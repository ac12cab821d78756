"""A2MIM: masked modelling for any architecture, in pixels and frequencies (arXiv 2205.13943)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="a2mim",
    title="Architecture-Agnostic Masked Image Modeling -- From ViT back to CNN",
    arxiv="2205.13943",
    kind="reconstruct",
    cases=("a2mim", "a2mim_loss"),
    config="pretrain/a2mim",
    result="emoji, 165 steps, 2 seeds, equal cost: k-NN 42.7 %, linear 48.7 % (SimMIM setting 39.7, 48.3 %)",
)
