"""iBOT: the teacher's prototypes are an online tokenizer for masked patches (arXiv 2111.07832)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="ibot",
    title="iBOT: Image BERT Pre-Training with Online Tokenizer",
    arxiv="2111.07832",
    kind="reconstruct",
    cases=("ibot",),
    config="pretrain/ibot",
    result="emoji, 16 steps, 2 seeds, equal cost: k-NN 36.8 %, linear 47.9 % (class token only (DINO) 37.1, 48.2 %)",
)
