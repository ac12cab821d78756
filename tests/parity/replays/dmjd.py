"""Replays of DMJD: a step of the network on two views, and the target."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.decoders.mae import MaeDecoder
from mimgen.masking.disjoint import second_view
from mimgen.masking.random import in_units
from mimgen.methods.dmjd.adapter import ADAPTER, arguments
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.methods.dmjd.objective import DMJD, Distance
from mimgen.methods.dmjd.target import WhitenedHog
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import load_official, official_gradients

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNIT = 2  # patches a side of a block
DISTANCES: dict[str, Distance] = {"l1": "absolute", "l2": "squared", "smooth_l1": "smooth"}


class _Recorded(WhitenedHog):
    """Stands for the target in a step whose goals are recorded: only the number of values matters."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__(patch)
        self.dim = dim


def _objective(case: Case) -> DMJD:
    """The recorded network with the recorded weights."""
    config, built = case.config, arguments(case.config, case.weights)
    eps = config.get("norm_eps", 1e-6)
    decoder, visible = built.pop("decoder"), built.pop("visible")
    stem_eps = config.get("cblock_and_patch_embed_norm_eps", 1e-5)
    encoder = ConvVitEncoder(**built, mean=MEAN, std=STD, eps=eps, stem_eps=stem_eps)
    objective = DMJD(
        encoder,
        MaeDecoder(**decoder, eps=eps),
        VisibleBranch(**visible, eps=eps),
        _Recorded(encoder.patch, decoder["output"]),
        theta=config.get("theta", 1.0),
        distance=DISTANCES[config.get("mim_loss_type", "l2")],
        visible_distance=DISTANCES[config.get("vis_loss_type", "smooth_l1")],
    )
    load_official(objective, case.weights, ADAPTER.our_key)
    return objective.train()


def _views(case: Case) -> tuple[Tensor, Tensor]:
    """Hidden units [2B, units] of both views, and the official order of the visible ones [2B, kept].

    The official code takes the first of permuted lists; here their ranks are the noise of `second_view`.
    """
    noise, config = case.inputs["noise"], case.config
    units, ratio = noise.shape[1], config.get("mask_ratio", 0.6)
    kept = int((1 - ratio) * units)
    quota = int(min(config.get("pred_ratio", 1.0) - ratio, ratio) * units)
    order = noise.argsort(dim=1, stable=True)
    shown = order[:, :kept][:, case.inputs["randperm_visible"]]
    lost = order[:, kept:][:, case.inputs["randperm_masked"]]
    first = torch.ones_like(noise, dtype=torch.bool).scatter(1, shown, False)
    ranks = torch.linspace(0.9, 0, units).expand_as(noise)
    lists = torch.cat([shown, lost], dim=1)
    second = second_view(first, torch.zeros_like(noise).scatter(1, lists, ranks), quota)
    again = torch.cat([shown[:, quota:], lost[:, units - kept - quota :]], dim=1)
    return torch.cat([first, second]), torch.cat([order[:, :kept], again])


def _patches_of(units: Tensor, grid: tuple[int, int]) -> Tensor:
    """Blocks [B, K] of a grid of patches to their patches [B, 4K]: the first of every block, then the second, ..."""
    row, column = units // (grid[1] // UNIT) * UNIT, units % (grid[1] // UNIT) * UNIT
    corner = row * grid[1] + column
    return torch.cat(
        [corner + down * grid[1] + right for down in range(UNIT) for right in range(UNIT)], dim=1
    )


def replay_dmjd(case: Case) -> dict[str, Tensor]:
    """Masks, tokens, both predictions, loss and gradients of one step; of a case of the target, that."""
    if "target_image" in case.inputs:
        return _replay_target(case)
    objective, images = _objective(case), case.inputs["images_u8"].float() / 255
    encoder = objective.encoder
    assert isinstance(encoder, ConvVitEncoder) and objective.visible is not None
    masked, ids = _views(case)
    if case.config.get("mask_type", "block") == "block":
        rows, columns = encoder.grid
        masked, ids = in_units(masked, (rows // UNIT, columns // UNIT), UNIT), _patches_of(ids, encoder.grid)
    mask = Mask(masked)
    # where each visible patch, in ascending order, stands in the official order, and the other way round
    pairs = ids.argsort(dim=1)
    back = pairs.argsort(dim=1)[..., None]
    tokens = encoder(images.repeat(2, 1, 1, 1), mask)
    predicted = objective.visible(tokens)
    objective.target.forward = lambda *_: case.inputs["target"]  # type: ignore[method-assign, assignment]
    loss = objective(Batch(images), mask, pairs=pairs).total
    return {
        "ids_keep": ids,
        "mask": mask.masked.float(),
        "latent": tokens.patches.gather(1, back.expand_as(tokens.patches)),
        "pred_masked_branch": objective.decoder(tokens, mask),
        "pred_visible_branch": predicted.gather(1, back.expand_as(predicted)),
        "loss": loss,
        **official_gradients(loss, objective, case, ADAPTER.our_key),
    }


def _replay_target(case: Case) -> dict[str, Tensor]:
    """Histograms before whitening, and the target."""
    config = case.config
    target = WhitenedHog(
        config.get("patch", 16), bins=config.get("orientations", 9), cell=config.get("cell", 8)
    )
    images = case.inputs["target_image"].permute(0, 3, 1, 2) / 255
    return {
        "hog_histogram": target.histograms(images).permute(0, 1, 3, 4, 2),
        "target": target(images),
    }


REPLAYS: dict[str, Replay] = {"dmjd": replay_dmjd}
