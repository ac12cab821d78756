"""Pipelines: prompt in, pictures out."""

from mimgen.pipelines.meissonic import MeissonicOutput, MeissonicPipeline

__all__ = ["MeissonicOutput", "MeissonicPipeline"]
