"""Replays of Hi-End-MAE."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.masking.random import largest
from mimgen.methods.hiendmae.adapter import ADAPTER, arguments
from mimgen.methods.hiendmae.cells import cut
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeTokens, VolumeVit
from mimgen.methods.hiendmae.objective import HiEndMAE
from mimgen.methods.hiendmae.target import VolumeTarget
from mimgen.ops.positions import gather_tokens
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import load_official, official_gradients


def replay_hiendmae(case: Case) -> dict[str, Tensor]:
    """Hidden states, decoder output, reconstruction, loss and gradients of one step."""
    volumes, noise = case.inputs["volume"], case.inputs["noise"]
    model = ADAPTER.make(arguments(case.config, case.weights), case.weights)
    load_official(model, case.weights, ADAPTER.our_key)
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, VolumeVit) and isinstance(decoder, HierarchicalDecoder), "a case has both"
    kept = int(noise.shape[1] * (1 - case.config["args"].get("mask_ratio", 0.75)))
    mask, order = Mask(largest(noise, noise.shape[1] - kept)), noise.argsort(dim=1, stable=True)
    target = VolumeTarget(encoder.cell, volumes.shape[1])
    objective = HiEndMAE(encoder, decoder, target, lambda grid, rng: mask).train()
    tokens = encoder(volumes, mask, layers=decoder.taps)
    predicted, cells = decoder.everything(tokens, mask), cut(volumes, encoder.cell)
    loss = objective(Batch(volumes), mask).total
    return {
        "patches": cells,
        "masked_patches": cells.masked_fill(mask.masked[..., None], 0),
        **_states(tokens, decoder, mask, order[:, :kept]),
        # the official decoder leaves the cells in the order of their noise
        "decoder_output": torch.cat([predicted[:, :1], _ordered(predicted[:, 1:], order)], dim=1),
        "reconstruction": target.raw(predicted[:, 1:], volumes, unbiased=True),
        "loss": loss,
        **official_gradients(loss, model, case, ADAPTER.our_key),
    }


def _states(tokens: VolumeTokens, decoder: HierarchicalDecoder, mask: Mask, kept: Tensor) -> dict[str, Tensor]:
    """Output and taps of the encoder with cells in the official order."""
    position = torch.searchsorted(mask.keep.contiguous(), kept.contiguous())
    states = {"latent": torch.cat([tokens.prefix, tokens.patches], dim=1)}
    states |= {f"hidden_{tap}": memory for tap, memory in zip(decoder.taps, tokens.memories, strict=True)}
    return {name: torch.cat([x[:, :1], _ordered(x[:, 1:], position)], dim=1) for name, x in states.items()}


def _ordered(x: Tensor, order: Tensor) -> Tensor:
    return gather_tokens(x, order)


REPLAYS: dict[str, Replay] = {"hiendmae": replay_hiendmae}
