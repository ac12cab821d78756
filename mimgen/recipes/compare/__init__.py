"""The engine of comparisons: arms x seeds with one budget, cached rows, hypotheses with intervals."""

from mimgen.recipes.compare.budget import Budget, ConfigRun, RunBuilder, named_run, train
from mimgen.recipes.compare.engine import Arm, Compare, Finished, Part, cached_row
from mimgen.recipes.compare.outcomes import Contrast, Hypothesis, Outcome, Paired, Results, Row, outcome_of
from mimgen.recipes.compare.parts import MeasureObjective, ProbeEncoder, Train

__all__ = [
    "Arm",
    "Budget",
    "Compare",
    "ConfigRun",
    "Contrast",
    "Finished",
    "Hypothesis",
    "MeasureObjective",
    "Outcome",
    "Paired",
    "Part",
    "ProbeEncoder",
    "Results",
    "Row",
    "RunBuilder",
    "Train",
    "cached_row",
    "named_run",
    "outcome_of",
    "train",
]
