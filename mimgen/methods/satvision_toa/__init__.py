"""SatVision-TOA: a foundation model for all-sky satellite images (arXiv 2411.17000)."""

from mimgen.papers import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    slug="satvision_toa",
    title=(
        "SatVision-TOA: A Geospatial Foundation Model for Coarse-Resolution All-Sky Remote "
        "Sensing Imagery"
    ),
    arxiv="2411.17000",
    kind="reconstruct",
    cases=("satvision",),
    config="pretrain/satvision_toa",
    result=(
        "bands, 149 steps, 2 seeds, equal cost: cloud profile R^2 65.2 %, cloud cover 66.6 % (untrained "
        "65.8, 67.0 %)"
    ),
)
