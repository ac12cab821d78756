"""Our extractors by name inside torch-fidelity, so that its own functions and command can use them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mimgen.evaluation.generation.extractors import Extractor


def register_extractor(extractor: Extractor) -> str:
    """Make an extractor known to torch-fidelity, once per process.

    Args:
        extractor: its features carry the name of its layer. A name that is known already stays what it is.

    Returns:
        the name for torch-fidelity's `feature_extractor`, in which slashes are underscores.
    """
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    class Registered(FeatureExtractorBase):
        """uint8 images [B, 3, H, W] -> features [B, F]."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (extractor.layer,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return extractor.layer

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor]:
            return (extractor(images).features,)

    name = extractor.name.replace("/", "_").strip()
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, Registered)
    return name
