"""Replays of efficient probing and the other attentive poolings of its harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers import pooling as own
from mimgen.pretrained import load_strictly
from tests.parity.cases import Case, Replay

# official beginning of a key -> ours
RENAMES: dict[str, dict[str, str]] = {
    "siglip": {"q.": "attn.q.", "kv.": "attn.kv.", "proj.": "attn.proj."},
    "cait": {"blocks_token_only.0.": "block."},
    "dinovit": {"dino_block.": "block."},
    "jepa": {"cross_attention_block.": "block."},
}
# in the official state dict, never read
UNUSED: dict[str, tuple[str, ...]] = {"cae": ("norm2_cross.",)}
# heads come from the command line there, 16 by default
HEADS = 16


def _abmilp(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> own.Pooling:
    positions = weights["pos_embed"].shape[1] if config.get("abmilp_cond", "none") == "pe" else 0
    return own.AbmilpPooling(
        config["dim"],
        self_attention=config.get("abmilp_sa", "both"),
        activation=config.get("abmilp_act", "tanh"),
        depth=config.get("abmilp_depth", 2),
        positions=positions,
        patches_only=config.get("abmilp_content", "all") == "patch",
    )


def _coca(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> own.Pooling:
    head_width = weights["to_kv.weight"].shape[0] // 2
    heads = weights["to_q.weight"].shape[0] // head_width
    return own.CocaPooling(config["dim"], len(weights["img_queries"]), heads, head_width)


def _cbam(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> own.Pooling:
    return own.CbamPooling(config["dim"], config["dim"] / len(weights["channel.fc1.weight"]))


def _efficient(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> own.Pooling:
    return own.EfficientPooling(
        config["dim"], config.get("ep_queries", 32), config.get("d_out", 1), bias="v.bias" in weights
    )


BUILDERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], own.Pooling]] = {
    "ep": _efficient,
    "abmilp": _abmilp,
    "simpool": lambda config, _: own.SimPool(config["dim"]),
    "esimpool": lambda config, _: own.ESimPool(config["dim"]),
    "clip": lambda config, weights: own.ClipPooling(config["dim"], len(weights["pos_embed"]) - 1),
    "siglip": lambda config, _: own.SiglipPooling(config["dim"]),
    "aim": lambda config, weights: own.AimPooling(
        config["dim"], config.get("num_heads", HEADS), weights["cls_token"].shape[1]
    ),
    "cbam": _cbam,
    "coca": _coca,
    "cait": lambda config, _: own.CaitPooling(config["dim"]),
    "dinovit": lambda config, _: own.DinoBlockPooling(config["dim"]),
    "jepa": lambda config, _: own.JepaPooling(config["dim"], config.get("num_heads", HEADS)),
    "dolg": lambda config, _: own.DolgPooling(config["dim"]),
    "cae": lambda config, _: own.CaePooling(config["dim"]),
}


def replay_efficient_probing(case: Case) -> dict[str, Tensor]:
    """Vector, attention, logits in both modes, loss and gradients of one probe."""
    kind = str(case.config["pooling"]).removesuffix("_all")
    if kind not in BUILDERS:
        raise UserError(f"pooling {kind!r} of this case is unknown; known are {', '.join(BUILDERS)}")
    head = _head(case, kind)
    tokens = case.inputs["features"]
    with torch.no_grad():
        logits = head.eval()(tokens)
        pooled = head.pooling.pool_with_maps(tokens)
    trained = head.train()(tokens)
    loss = F.cross_entropy(trained, case.inputs["labels"])
    outputs = {
        "pooled": pooled.vector,
        "attn": pooled.attention,
        "logits_eval": logits,
        "logits_train": trained.detach(),
        "loss": loss.detach(),
    }
    return outputs | _gradients(loss, head, case, kind)


def _head(case: Case, kind: str) -> own.ProbeHead:
    """The pooling, the norm and the classifier, with the case's weights."""
    unused = tuple(f"0.{name}" for name in UNUSED.get(kind, ()))
    weights = {name: value for name, value in case.weights.items() if not name.startswith(unused or ("-",))}
    pooling = {name.removeprefix("0."): value for name, value in weights.items() if name.startswith("0.")}
    head = own.ProbeHead(BUILDERS[kind](case.config, pooling), case.config["nb_classes"])
    load_strictly(head, {_own(name, kind): value for name, value in weights.items()}, "the case")
    return head


def _own(name: str, kind: str) -> str:
    """Our key for an official one."""
    for theirs, ours in RENAMES.get(kind, {}).items():
        if name.startswith(f"0.{theirs}"):
            return f"0.{ours}{name.removeprefix(f'0.{theirs}')}"
    return name


def _gradients(loss: Tensor, head: nn.Module, case: Case, kind: str) -> dict[str, Tensor]:
    parameters = dict(head.named_parameters())
    names = [name.removeprefix("grad/") for name in case.outputs if name.startswith("grad/")]
    found = torch.autograd.grad(
        loss, [parameters[_own(name, kind)] for name in names], materialize_grads=True
    )
    return {f"grad/{name}": gradient for name, gradient in zip(names, found, strict=True)}


REPLAYS: dict[str, Replay] = {"efficient_probing": replay_efficient_probing}
