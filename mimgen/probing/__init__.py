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
from mimgen.probing.data import ProbeData, probe_data
from mimgen.probing.features import POOLINGS, Encoder, Features, Pooling, extract, raw_pixels
from mimgen.probing.finetune import FineTune, fine_tune
from mimgen.probing.intervals import Interval, bootstrap, bootstrap_difference, over_seeds
from mimgen.probing.knn import knn_probe, neighbours
from mimgen.probing.linear import linear_probe
from mimgen.probing.logistic import logistic_probe
from mimgen.probing.mae_protocol import MaeProtocol, mae_probe
from mimgen.probing.maps import PointingGame, attention_images, patch_maps, pointing_game, query_strips
from mimgen.probing.open import LoadedEncoder, open_encoder
from mimgen.probing.probe_split import ProbeResult
from mimgen.probing.probes import PROBES, FittedProbe, Probe, check_probes, fit_probe
from mimgen.probing.rows import ProbeRow, best_rows, probe_levels, sample_shots
from mimgen.probing.run import AttentionExample, ProbeReport, ProbeSettings, run_probes
from mimgen.probing.segmentation import SegmentationResult, knn_segmentation, linear_segmentation
from mimgen.probing.sweep import Sweep, sweep_probe

__all__ = [
    "POOLINGS",
    "PROBES",
    "AttentionExample",
    "AttentiveProbe",
    "AttentiveTraining",
    "CachedFeatures",
    "Encoder",
    "FeatureKey",
    "Features",
    "FineTune",
    "FittedProbe",
    "Interval",
    "LoadedEncoder",
    "MaeProtocol",
    "PointingGame",
    "Pooling",
    "Probe",
    "ProbeData",
    "ProbeReport",
    "ProbeResult",
    "ProbeRow",
    "ProbeSettings",
    "SegmentationResult",
    "Sweep",
    "attention_images",
    "attentive_probe",
    "best_rows",
    "bootstrap",
    "bootstrap_difference",
    "cached_features",
    "check_comparable",
    "check_probes",
    "extract",
    "fine_tune",
    "fit_probe",
    "key_of",
    "knn_probe",
    "knn_segmentation",
    "linear_probe",
    "linear_segmentation",
    "logistic_probe",
    "mae_probe",
    "neighbours",
    "open_encoder",
    "open_features",
    "over_seeds",
    "patch_maps",
    "pointing_game",
    "probe_data",
    "probe_levels",
    "query_strips",
    "raw_pixels",
    "run_probes",
    "sample_shots",
    "sweep_probe",
]
