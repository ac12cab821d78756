"""Replays of token merging (ToMe): the functions, the patched ViT and MAE's ViT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.encoders.merging import Merging
from mimgen.encoders.vit import VitEncoder
from mimgen.layers.merge_schedule import MergeSchedule, merge_schedule
from mimgen.layers.merging import (
    Matching,
    Merged,
    combine,
    match,
    match_every,
    match_random,
    max_mergeable,
    merge,
    unmerge,
)
from tests.parity.cases import Case, Replay
from tests.parity.helpers import load_official


def _merge(case: Case) -> Mapping[str, Tensor]:
    metric, tokens, r = case.inputs["metric"], case.inputs["tokens"], int(case.config["r"])
    found: dict[str, Tensor] = {}
    for name, protected in (("plain", 0), ("cls", 1), ("cls_distill", 2)):
        chosen = _official(metric, r, protected)
        found |= {f"{name}/{key}": value for key, value in _through(chosen, case).items()}
    cap = match(metric, max_mergeable(metric.shape[1]))
    found["cap/merged"] = merge(tokens, cap)[0]
    kth = match_every(metric, int(case.config["k"]))
    tokens_kept = tokens[:, : kth.group.shape[1]]
    found |= {f"kth/{key}": value for key, value in _once(kth, tokens_kept).items()}
    sample = match_random(metric, r, case.inputs["random_scores"][..., 0])
    found |= {f"random/{key}": value for key, value in _once(sample, tokens).items()}
    return found | {f"two_step/{key}": value for key, value in _two_steps(case).items()}


def _official(metric: Tensor, remove: int, protected: int) -> Matching:
    """Ours raises where more is asked than a layer can remove; the official code does what it can."""
    return match(metric, min(remove, max_mergeable(metric.shape[1], protected)), protected=protected)


def _once(chosen: Matching, tokens: Tensor) -> dict[str, Tensor]:
    merged, record = Merged.start(tokens).through(tokens, chosen)
    return {
        "merged": merged,
        "size": record.sizes,
        "source": record.source.to(torch.uint8),
        "unmerged": unmerge(merged, chosen),
    }


def _through(chosen: Matching, case: Case) -> dict[str, Tensor]:
    tokens = case.inputs["tokens"]
    found = _once(chosen, tokens)
    found["merged_weighted"], found["size_weighted"] = merge(tokens, chosen, case.inputs["size"])
    found["merge_mean"] = combine(tokens, chosen, "mean")
    found["merge_amax"] = combine(tokens, chosen, "amax")
    return found


def _two_steps(case: Case) -> dict[str, Tensor]:
    tokens, metric = case.inputs["tokens"], case.inputs["metric"]
    x, record = Merged.start(tokens).through(tokens, _official(metric, int(case.config["r"]), 1))
    x, record = record.through(x, _official(x, int(case.config["r2"]), 1))
    return {"merged": x, "size": record.sizes, "source": record.source.to(torch.uint8)}


def _encoder(case: Case, **options: Any) -> VitEncoder:
    vit = case.config["vit"]
    channels = vit.get("in_chans", 3)
    side = vit["img_size"]
    encoder = VitEncoder(
        image_size=side if isinstance(side, int) else tuple(side),
        patch=vit["patch_size"],
        width=vit["embed_dim"],
        depth=vit["depth"],
        heads=vit["num_heads"],
        mlp_ratio=vit.get("mlp_ratio", 4.0),
        qkv_bias=vit.get("qkv_bias", True),
        classes=vit["num_classes"],
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        **options,
    )
    load_official(encoder, case.weights)
    return encoder.eval()


def _wanted(config: Mapping[str, Any]) -> MergeSchedule:
    r, kind = config["r"], config.get("r_kind")
    if isinstance(r, int):
        return r
    return (int(r[0]), float(r[1])) if kind == "pair" else tuple(int(count) for count in r)


def _vit(case: Case) -> Mapping[str, Tensor]:
    encoder, wanted = _encoder(case), _wanted(case.config)
    found = {"r_per_layer": torch.tensor(merge_schedule(encoder.depth, wanted))}
    for name, proportional in (("prop", True), ("noprop", False)):
        run = _classified(case, encoder, Merging(remove=wanted, proportional=proportional, strict=False))
        loss = F.cross_entropy(run["logits"], case.inputs["label"])
        keys = case.config.get("grads", ())
        gradients = torch.autograd.grad(loss, [encoder.get_parameter(key) for key in keys])
        run |= {"loss": loss} | {f"grad/{key}": g for key, g in zip(keys, gradients, strict=True)}
        found |= {f"{name}/{key}": value for key, value in run.items()}
    return found


def _vit_mae(case: Case) -> Mapping[str, Tensor]:
    merging = Merging(remove=_wanted(case.config), proportional=False, strict=False)
    return _classified(case, _encoder(case, pool="mean"), merging)


def _classified(case: Case, encoder: VitEncoder, merging: Merging) -> dict[str, Tensor]:
    tokens = encoder(case.inputs["image"], merging=merging)
    assert tokens.merged is not None
    assert encoder.head is not None
    return {
        "logits": encoder.head(encoder.pool(tokens)),
        "size": tokens.merged.sizes,
        "source": tokens.merged.source.to(torch.uint8),
    }


REPLAYS: dict[str, Replay] = {"tome_merge": _merge, "tome_vit": _vit, "tome_vit_mae": _vit_mae}
