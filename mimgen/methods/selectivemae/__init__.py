"""SelectiveMAE: encode few informative patches and predict only few others (arXiv 2406.11933)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="selectivemae",
    title="Harnessing Massive Satellite Imagery with Efficient Masked Image Modeling",
    arxiv="2406.11933",
    kind="reconstruct",
    cases=("selectivemae",),
    config="pretrain/selectivemae",
    result="emoji, 320 steps, 2 seeds, equal cost: k-NN 41.5 %, linear 49.6 % (MAE 34.4, 49.3 %)",
)
