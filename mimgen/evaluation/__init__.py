"""Measuring generated and reconstructed images."""

from mimgen.evaluation.clip_score import clip_score
from mimgen.evaluation.composition import (
    CompositionScore,
    composition_score,
    copying_baseline,
    evaluate_composition,
)
from mimgen.evaluation.descriptor import DESCRIPTOR, describe
from mimgen.evaluation.doctor import Examination, Thresholds, examine
from mimgen.evaluation.fid import fid
from mimgen.evaluation.masked import masked_loss
from mimgen.evaluation.reconstruction import codebook_usage, evaluate_reconstruction, psnr, ssim
from mimgen.evaluation.results import provenance, write_result
from mimgen.evaluation.scenes import check_scene, evaluate_scenes, verify_scenes

__all__ = [
    "DESCRIPTOR",
    "CompositionScore",
    "Examination",
    "Thresholds",
    "check_scene",
    "clip_score",
    "codebook_usage",
    "composition_score",
    "copying_baseline",
    "describe",
    "evaluate_composition",
    "evaluate_reconstruction",
    "evaluate_scenes",
    "examine",
    "fid",
    "masked_loss",
    "provenance",
    "psnr",
    "ssim",
    "verify_scenes",
    "write_result",
]
