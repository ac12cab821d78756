"""What an encoder attends to and how its layers differ, without labels."""

from mimgen.analysis.cka import MinibatchCka, linear_cka, unbiased_hsic
from mimgen.analysis.contrast import SIGNS, Sign, cross_cka, late, signs
from mimgen.analysis.encoder import Encoder, has_attention, levels_of, resting, run_encoder
from mimgen.analysis.heatmaps import alike, attention_heatmap, components, heatmap, heatmap_table, overlay
from mimgen.analysis.layers import Analysis, analyse
from mimgen.analysis.run import AnalysedEncoder, AnalysisReport, analyse_encoders
from mimgen.analysis.similarity import between_images, depth_similarity, token_similarity
from mimgen.ops.attention_maps import attention_distance, attention_nmi, grid_distances, head_similarity
from mimgen.ops.ranks import effective_rank, stable_rank
from mimgen.ops.spectrum import relative_log_amplitude, singular_values
from mimgen.papers import Paper

__all__ = [
    "PAPER",
    "SIGNS",
    "AnalysedEncoder",
    "Analysis",
    "AnalysisReport",
    "Encoder",
    "MinibatchCka",
    "Sign",
    "alike",
    "analyse",
    "analyse_encoders",
    "attention_distance",
    "attention_heatmap",
    "attention_nmi",
    "between_images",
    "components",
    "cross_cka",
    "depth_similarity",
    "effective_rank",
    "grid_distances",
    "has_attention",
    "head_similarity",
    "heatmap",
    "heatmap_table",
    "late",
    "levels_of",
    "linear_cka",
    "overlay",
    "relative_log_amplitude",
    "resting",
    "run_encoder",
    "signs",
    "singular_values",
    "stable_rank",
    "token_similarity",
    "unbiased_hsic",
]

PAPER = Paper(
    slug="cl_vs_mim",
    title="What Do Self-Supervised Vision Transformers Learn?",
    arxiv="2305.00729",
    kind="use",
    cases=("clvsmim",),
    command="mimgen analyse --against",
)
