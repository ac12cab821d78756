"""Hi-End-MAE: mask tokens ask the encoder's layers, from deep to shallow (arXiv 2502.08347)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="hiendmae",
    title=(
        "Hi-End-MAE: Hierarchical encoder-driven masked autoencoders are stronger vision "
        "learners for medical image segmentation"
    ),
    arxiv="2502.08347",
    kind="reconstruct",
    cases=("hiendmae",),
    config="pretrain/hiendmae",
    result=(
        "volumes, 195 steps, 2 seeds, equal cost: Dice of middle layers 19.9 %, best layer 20.1 % (from "
        "the last layer alone 18.5, 18.7 %)"
    ),
)
