"""BEiT v2: predict the codes of masked patches, twice (arXiv 2208.06366)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="beitv2",
    title="BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
    arxiv="2208.06366",
    kind="reconstruct",
    cases=("beitv2", "beitv2_tokenizer", "block_mask"),
    config="pretrain/beitv2",
    result="emoji, 49 steps, 2 seeds, equal cost: k-NN 32.4 %, linear 44.0 % (MAE 34.4, 49.3 %)",
)
