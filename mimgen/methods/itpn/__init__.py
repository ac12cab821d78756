"""iTPN: pretrain a backbone together with its feature pyramid (arXiv 2211.12735)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="itpn",
    title="Integrally Pre-Trained Transformer Pyramid Networks",
    arxiv="2211.12735",
    kind="reconstruct",
    cases=("itpn",),
    config="pretrain/itpn",
    result="emoji, 95 steps, 2 seeds, equal cost: k-NN 34.8 %, linear 45.0 % (MAE 34.4, 49.3 %)",
)
