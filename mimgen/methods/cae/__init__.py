"""CAE: predict the representations of masked patches in the encoder's own space (arXiv 2202.03026)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="cae",
    title="Context Autoencoder for Self-Supervised Representation Learning",
    arxiv="2202.03026",
    kind="reconstruct",
    cases=("cae",),
    config="pretrain/cae",
    result="emoji, 72 steps, 2 seeds, equal cost: k-NN 33.1 %, linear 46.6 % (MAE 34.4, 49.3 %)",
)
