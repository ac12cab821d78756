"""CroCo: complete an image with the help of another view of the same scene (arXiv 2210.10716)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="croco",
    title="CroCo: Self-Supervised Pre-training for 3D Vision Tasks by Cross-View Completion",
    arxiv="2210.10716",
    kind="reconstruct",
    cases=("croco",),
    config="pretrain/croco",
    result=(
        "parallax, 48 steps, 2 seeds, equal cost: gain of the true second view 15.6 %, disparity R^2, "
        "both views 9.9 % (second views of other scenes -0.0, 7.6 %)"
    ),
)
