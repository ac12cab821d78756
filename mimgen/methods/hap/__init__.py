"""HAP: body parts are masked first, and two masked views of a person agree (arXiv 2310.20695)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="hap",
    title="HAP: Structure-Aware Masked Image Modeling for Human-Centric Perception",
    arxiv="2310.20695",
    kind="align",
    cases=("hap",),
    config="pretrain/hap",
    result=(
        "figures, 91 steps, 2 seeds, equal cost: attributes 66.9 %, identity mAP 11.8 % (random masks "
        "(MAE) 75.6, 23.6 %)"
    ),
)
