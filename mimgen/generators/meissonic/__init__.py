"""Meissonic: a text-conditional masked token transformer (arXiv 2410.08261)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="meissonic",
    title=(
        "Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution "
        "Text-to-Image Synthesis"
    ),
    arxiv="2410.08261",
    kind="generate",
    cases=("meissonic_scheduler", "meissonic_t2i", "meissonic_train", "meissonic_transformer"),
    config="generate/meissonic",
    result=(
        "emoji, composition R@1: 64 px, 6 hours on 2 cores 54.3 % (copying 26.2 %); R@5: 32 "
        "px, 9 min 32.3 % (64.0 %)"
    ),
)
