"""Reading labels off frozen encoders."""

from mimgen.probing.attentive import AttentiveProbe, AttentiveTraining, attentive_probe
from mimgen.probing.cache import (
    CachedFeatures,
    FeatureKey,
    cached_features,
    check_comparable,
    key_of,
    open_features,
)
from mimgen.probing.features import POOLINGS, Encoder, Features, Pooling, extract, raw_pixels
from mimgen.probing.finetune import FineTune, fine_tune
from mimgen.probing.intervals import Interval, bootstrap, bootstrap_difference, over_seeds
from mimgen.probing.knn import knn_probe, neighbours
from mimgen.probing.linear import linear_probe
from mimgen.probing.logistic import logistic_probe
from mimgen.probing.mae_protocol import MaeProtocol, mae_probe
from mimgen.probing.maps import PointingGame, attention_images, patch_maps, pointing_game, query_strips
from mimgen.probing.probe_split import ProbeResult
from mimgen.probing.repeats import few_shot, layerwise, repeated, sample_shots
from mimgen.probing.segmentation import SegmentationResult, knn_segmentation, linear_segmentation
from mimgen.probing.sweep import Sweep, sweep_probe

__all__ = [
    "POOLINGS",
    "AttentiveProbe",
    "AttentiveTraining",
    "CachedFeatures",
    "Encoder",
    "FeatureKey",
    "Features",
    "FineTune",
    "Interval",
    "MaeProtocol",
    "PointingGame",
    "Pooling",
    "ProbeResult",
    "SegmentationResult",
    "Sweep",
    "attention_images",
    "attentive_probe",
    "bootstrap",
    "bootstrap_difference",
    "cached_features",
    "check_comparable",
    "extract",
    "few_shot",
    "fine_tune",
    "key_of",
    "knn_probe",
    "knn_segmentation",
    "layerwise",
    "linear_probe",
    "linear_segmentation",
    "logistic_probe",
    "mae_probe",
    "neighbours",
    "open_features",
    "over_seeds",
    "patch_maps",
    "pointing_game",
    "query_strips",
    "raw_pixels",
    "repeated",
    "sample_shots",
    "sweep_probe",
]
