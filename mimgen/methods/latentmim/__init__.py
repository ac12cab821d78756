"""LatentMIM: predict the latents of masked patches from those of few visible ones (arXiv 2407.15837)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="latentmim",
    title="Towards Latent Masked Image Modeling for Self-Supervised Visual Representation Learning",
    arxiv="2407.15837",
    kind="reconstruct",
    cases=("latentmim",),
    config="pretrain/latentmim",
    result="emoji, 95 steps, 2 seeds, equal cost: k-NN 40.1 %, linear 50.3 % (MAE 34.4, 49.3 %)",
)
