"""Replays of the measures of naver-ai/cl-vs-mim: attention distance, NMI and Fourier amplitude from given tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mimgen.ops.attention_maps import attention_distance, attention_nmi
from mimgen.ops.spectrum import relative_log_amplitude
from tests.parity.cases import Case, Replay

__all__ = ["REPLAYS"]

_PREFIX = 1  # the notebooks' models have one class token


def _clvsmim(case: Case) -> Mapping[str, Tensor]:
    side, patch = int(case.config["grid"]), float(case.config["patch_size"])
    maps, latents = case.inputs["attentions"], case.inputs["latents"]
    distance = attention_distance(maps, (side, side), patch, _PREFIX)
    nmi = attention_nmi(maps, _PREFIX)
    spectrum = relative_log_amplitude(latents[:, :, _PREFIX:], (side, side)).mean(1)
    return {
        "attention_distance": distance,
        "attention_distance_mean": distance.mean((1, 2)),
        "nmi": nmi,
        "nmi_mean": nmi.mean((1, 2)),
        "fourier_relative_log_amplitude": spectrum,
    }


REPLAYS: dict[str, Replay] = {"clvsmim": _clvsmim}
