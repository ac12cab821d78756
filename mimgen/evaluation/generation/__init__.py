"""Metrics of generated images: FID, KID, IS and PRC over streamed statistics."""

from mimgen.evaluation.generation.extractors import (
    INCEPTION,
    INCEPTION_LAYERS,
    LAB_HOG,
    Extracted,
    Extractor,
    from_encoder,
    inception,
    lab_hog,
    transformers_folder,
)
from mimgen.evaluation.generation.features import (
    FeatureSet,
    check_same_features,
    load_features,
    measure_images,
    save_features,
    share_of_rank,
)
from mimgen.evaluation.generation.images import (
    ImageSource,
    from_dataset,
    from_folder,
    from_tensor,
)
from mimgen.evaluation.generation.metrics import (
    METRICS,
    GenerationScores,
    MetricSettings,
    frechet_distance,
    generation_scores,
    rank_notes,
)
from mimgen.evaluation.generation.registry import register_extractor
from mimgen.evaluation.generation.statistics import Moments, merge_all, over_ranks

__all__ = [
    "INCEPTION",
    "INCEPTION_LAYERS",
    "LAB_HOG",
    "METRICS",
    "Extracted",
    "Extractor",
    "FeatureSet",
    "GenerationScores",
    "ImageSource",
    "MetricSettings",
    "Moments",
    "check_same_features",
    "frechet_distance",
    "from_dataset",
    "from_encoder",
    "from_folder",
    "from_tensor",
    "generation_scores",
    "inception",
    "lab_hog",
    "load_features",
    "measure_images",
    "merge_all",
    "over_ranks",
    "rank_notes",
    "register_extractor",
    "save_features",
    "share_of_rank",
    "transformers_folder",
]
