"""Replays of BEiT v2: its tokenizer (VQ-KD) and its pretraining network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.encoders.beit import Relative
from mimgen.methods.beitv2 import BeitPretraining, BEiTv2
from mimgen.pretrained import load_strictly
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.tokenizers.vqkd.model import VqKd
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import RecordedCodes, gradients, load_official, official_gradients, plain


def relative_of(config: Mapping[str, Any]) -> Relative:
    """Our word for the official switches of the relative position bias."""
    if config.get("use_shared_rel_pos_bias"):
        return "shared"
    return "block" if config.get("use_rel_pos_bias") else "none"


def _trunk(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The arguments of one transformer of `VqKd`."""
    return {
        f"{prefix}width": config.get("embed_dim", 768),
        f"{prefix}depth": config.get("depth", 12),
        f"{prefix}heads": config.get("num_heads", 12),
        f"{prefix}mlp_ratio": config.get("mlp_ratio", 4.0),
        f"{prefix}layer_scale": config.get("init_values"),
        f"{prefix}qkv_bias": config.get("qkv_bias", True),
        f"{prefix}absolute": config.get("use_abs_pos_emb", True),
        f"{prefix}relative": relative_of(config),
    }


def vqkd_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of `VqKd` from the official ones."""
    return {
        "pixels": config["encoder"]["img_size"],
        "patch": config["encoder"]["patch_size"],
        **_trunk(config["encoder"]),
        **_trunk(config["decoder"], "decoder_"),
        "codebook_size": config["n_embed"],
        "code_dim": config["embed_dim"],
        "feature_dim": config["decoder_out_dim"],
        "decay": config.get("decay", 0.99),
        "commitment": config.get("beta", 1.0),
        "kmeans": config.get("kmeans_init", True),
    }


@torch.no_grad()
def _evaluate(tokenizer: VqKd, images: Tensor) -> dict[str, Tensor]:
    """Two passes in evaluation mode; the official code counts usage there too."""
    ids = _ids(tokenizer, images)
    codes = tokenizer.encode(images)
    for _ in range(2):
        tokenizer.quantize.count(ids)
    return {
        "eval/tokens": ids,
        "eval/quantized": codes.latents,
        "eval/feature": tokenizer.features(codes),
        "eval/usage": tokenizer.quantize.cluster_size.clone(),
    }


@torch.no_grad()
def _ids(tokenizer: VqKd, images: Tensor) -> Tensor:
    """[B, N] ids in evaluation mode."""
    indices = tokenizer.eval().encode(images).indices
    assert indices is not None, "VQ-KD fills indices"
    return indices.flatten(1)


def _start(tokenizer: VqKd, images: Tensor, permutation: Tensor) -> None:
    """The k-means start from the recorded rows."""
    with torch.no_grad():
        rows = F.normalize(tokenizer.latents(images), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    tokenizer.quantize.start(rows, rows[permutation[: tokenizer.codebook_size]])


def replay_beitv2_tokenizer(case: Case) -> dict[str, Tensor]:
    """Codes, features, losses, gradients and one update of the codebook."""
    tokenizer = VqKd(**vqkd_arguments(case.config))
    load_official(tokenizer, case.weights)
    images, outputs = case.inputs["image"], {}
    if any(name.startswith("eval/") for name in case.outputs):
        outputs = _evaluate(tokenizer, images)
    if "usage" in case.inputs:
        tokenizer.quantize.cluster_size.copy_(case.inputs["usage"])
    if "permutation" in case.inputs:
        _start(tokenizer, images, case.inputs["permutation"])
    features, codes = tokenizer.train()(images)
    similarity = F.cosine_similarity(features, case.inputs["teacher"], dim=-1)
    distance, pull = (1 - similarity).mean(), codes.losses["commitment"]
    outputs |= {"loss": distance + pull, "rec_loss": distance, "quant_loss": pull}
    outputs |= gradients(distance + pull, tokenizer, case.config.get("grads", ()))
    quantizer = tokenizer.quantize
    outputs |= {
        "updated/codebook": quantizer.embedding.weight,
        "updated/usage": quantizer.cluster_size.clone(),
    }
    outputs["updated/tokens"] = _ids(tokenizer, images)
    return outputs


def pretraining_network(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], **normalisation: tuple[float, ...]
) -> BeitPretraining:
    """The network of a case, its weights loaded strictly; `normalisation` of images where not ImageNet's."""
    second = weights.get("cls_pt_lm_head.weight")
    network = BeitPretraining(
        pixels=config["img_size"],
        patch=config["patch_size"],
        width=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_ratio=config.get("mlp_ratio", 4.0),
        layer_scale=config.get("init_values"),
        absolute=config.get("use_abs_pos_emb", True),
        relative=relative_of(config),
        qkv_bias=config.get("qkv_bias", True),
        codes=config["vocab_size"],
        early_layers=config.get("early_layers"),
        head_layers=config.get("head_layers", 2),
        second=None if second is None else len(second),
        **normalisation,
    )
    load_strictly(network, weights, "the case")
    return network.train()


def replay_beitv2(case: Case) -> dict[str, Tensor]:
    """Logits, tokens and gradients of masked code prediction, with and without the bottleneck."""
    network = pretraining_network(case.config, case.weights, **plain())
    maps, masked = case.inputs["samples"], case.inputs["bool_masked_pos"].flatten(1).bool()
    predictions = network.predict_maps(maps, masked, masked)
    final, second = network.streams(maps, masked)
    # stands for the tokenizer, whose ids were recorded
    coder = CentroidTokenizer(network.patch, network.lm_head.out_features)
    objective = BEiTv2(network, coder)
    objective.target = RecordedCodes(case.inputs["input_ids"].flatten(1), coder.codebook_size, network.patch)
    losses = objective(Batch(maps), Mask(masked))
    outputs = {"logits": predictions.codes, "patch_tokens": final[:, 1:], "loss_1": losses.terms["code"]}
    if predictions.second is not None and second is not None:
        outputs["logits_cls_pt"], outputs["patch_tokens_cls_pt"] = predictions.second, second[:, 1:]
        outputs["loss_2"] = losses.terms["bottleneck"]
    outputs["loss"] = losses.total
    return outputs | official_gradients(losses.total, network, case)


REPLAYS: dict[str, Replay] = {"beitv2_tokenizer": replay_beitv2_tokenizer, "beitv2": replay_beitv2}
