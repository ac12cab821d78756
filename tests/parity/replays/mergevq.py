"""Replays of MergeVQ: ApexGen-X/MergeVQ, tokenizer only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.layers.merge_schedule import merge_schedule
from mimgen.layers.merging import unmerge_by_source
from mimgen.pretrained import load_strictly
from mimgen.tokenizers.losses import entropy_weight
from mimgen.tokenizers.mergevq import MergeVQ
from mimgen.tokenizers.mergevq.adapter import arguments, candidates, decoder_arguments, encoder_arguments
from mimgen.tokenizers.mergevq.decoder import MergingDecoder
from mimgen.tokenizers.mergevq.encoder import MergingEncoder
from mimgen.tokenizers.mergevq.recovery import SourceRecovery, hard_source
from mimgen.tokenizers.mergevq.schedule import (
    KeepCounts,
    base_merge_count,
    keep_counts,
    official_merge_schedule,
)
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients, load_official


@dataclass
class OfficialKeepCount:
    """The keep count as the released module holds it, its fault included.

    A sample takes effect only if its base removal differs from that of the current keep count; two candidates of
    one base removal therefore leave the former count in place. Our own tokenizer has no such state.
    """

    full: int
    layers: int
    candidates: KeepCounts
    keep: int

    def base(self, keep: int) -> int:
        """Base removal of a keep count."""
        return base_merge_count(self.full - keep, self.layers)

    def sample(self, uniform: float) -> int:
        """The keep count after a sample."""
        counts = self.candidates.sample(uniform)
        if self.base(counts) != self.base(self.keep):
            self.keep = counts
        return self.keep

    def merge_schedule(self) -> tuple[int, ...]:
        """Removal of each layer at the current keep count."""
        return official_merge_schedule(self.full - self.keep, self.layers)


def replay_schedule(case: Case) -> dict[str, Tensor]:
    """Keep counts, probabilities and removals of each setting."""
    config = case.config
    outputs: dict[str, Tensor] = {}
    for index, full in enumerate(config["full"]):
        layers, name = config["layers"][index], config["cand"][index]
        centre = full - config["merge_num"][index]
        counts = keep_counts(centre, candidates({"cand_distribution": name}))
        state = OfficialKeepCount(full, layers, counts, centre)
        found: dict[str, Any] = {
            "default_base_r": state.base(centre),
            "default_r_per_layer": state.merge_schedule(),
        }
        if name is not None:
            found |= {
                "keep": counts.counts,
                "base_r": [state.base(keep) for keep in counts.counts],
                "r_per_layer": [official_merge_schedule(full - keep, layers) for keep in counts.counts],
                "cumulative_probability": counts.cumulative,
                "keep_for_rand": [state.sample(float(uniform)) for uniform in case.inputs["rand"].double()],
            }
        outputs |= {f"{index}/{key}": torch.tensor(value) for key, value in found.items()}
    pairs = [merge_schedule(12, (int(r), float(inflection))) for r, inflection in config["pairs"]]
    return {**outputs, "parse_r": torch.tensor(pairs)}


def _keep_count(options: Mapping[str, Any], layers: int) -> OfficialKeepCount:
    """The state of a freshly built encoder."""
    full = (options["resolution"] // 2 ** (len(options["ch_mult"]) - 1)) ** 2
    centre = full - (options.get("merge_num") or 0)
    return OfficialKeepCount(full, layers, keep_counts(centre, candidates(options)), centre)


def _square(latents: Tensor) -> Tensor:
    """[B, C, K] in the order of the tokens to a map [B, C, sqrt K, sqrt K]."""
    side = math.isqrt(latents.shape[2])
    return latents.unflatten(2, (side, side))


def _encoder(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> MergingEncoder:
    encoder = MergingEncoder(**encoder_arguments(options, weights))
    load_strictly(encoder, weights, "the case")
    return encoder


def _state(
    encoder: MergingEncoder, keep_count: OfficialKeepCount, inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What the encoder gives at the current keep count."""
    counts = keep_count.merge_schedule()
    encoded = encoder(inputs["image"], counts)
    outputs = {
        "keep": torch.tensor(keep_count.keep),
        "r_per_layer": torch.tensor(counts),
        "latent": _square(encoder.latents(encoded)),
    }
    if any(counts):
        outputs |= {"source": encoded.merged.source.to(torch.uint8), "size": encoded.merged.sizes}
    if encoder.dist_head is not None:
        outputs["rep"] = encoder.represent(encoder(inputs["image_aug"], counts))
    return outputs


def replay_encoder(case: Case) -> dict[str, Tensor]:
    """Latents, source matrices, sizes and head outputs after each sample."""
    encoder = _encoder(case.config["encoder"], case.weights).eval()
    keep_count = _keep_count(case.config["encoder"], encoder.depth)
    last = _state(encoder, keep_count, case.inputs)
    outputs = {f"default/{name}": value for name, value in last.items()}
    for index, uniform in enumerate(case.inputs.get("rand", torch.zeros(0)).double()):
        keep_count.sample(float(uniform))
        last = _state(encoder, keep_count, case.inputs)
        outputs |= {f"draw{index}/{name}": value for name, value in last.items()}
    loss = last["latent"].square().mean()
    if "rep" in last:
        loss = loss + last["rep"].square().mean()
    outputs |= {"loss": loss, **gradients(loss, encoder, case.config["grads"])}
    return outputs


def replay_decoder(case: Case) -> dict[str, Tensor]:
    """An image from codes on the full grid."""
    decoder = MergingDecoder(**decoder_arguments(case.config["decoder"], case.weights))
    load_official(decoder, case.weights)
    image = decoder.eval()(case.inputs["quant"])
    loss = image.square().mean()
    return {"image": image.detach(), "loss": loss.detach(), **gradients(loss, decoder, case.config["grads"])}


def replay_recovery(case: Case) -> dict[str, Tensor]:
    """Given and learned recovery of the full grid."""
    options, tokens, assign = case.config["recovery"], case.inputs["tokens"], case.inputs["assign"]
    positions = torch.arange(tokens.shape[1])[:, None]
    source = assign[:, None] == positions
    outputs = {"unmerged_given": unmerge_by_source(source, tokens)}
    if options.get("learn_source"):
        recovery = SourceRecovery(
            options["embed_dim"],
            options["full_num"],
            options.get("rec_embed_dim", 384),
            options.get("num_layers", 2),
            options.get("num_heads", 8),
            self_layers=0,
        )
        load_official(recovery, case.weights)
        logits = recovery.eval()(tokens)
        probability = logits.softmax(1)
        loss = F.mse_loss(probability, source.float())
        outputs |= {
            "source_probability": probability,
            "source_argmax": logits.argmax(1),
            "unmerged_predicted": unmerge_by_source(hard_source(logits), tokens),
            "loss": loss,
            **gradients(loss, recovery, case.config["grads"]),
        }
    return outputs


def _alignment(kind: str, rep: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """The class token's loss against a teacher feature [B, C], or against labels without one."""
    if "teacher" not in inputs or kind == "ce":
        return F.cross_entropy(rep, inputs["label"], label_smoothing=0.1)
    teacher = inputs["teacher"]
    if kind == "mse":
        return -(F.normalize(rep, dim=-1) * F.normalize(teacher, dim=-1)).mean()
    soft, hard = (rep / 4).log_softmax(-1), (teacher / 4).softmax(-1)
    return F.kl_div(soft, hard, reduction="batchmean") * 16


def _tokenizer(case: Case) -> MergeVQ:
    """The whole tokenizer in training mode; the keep count is chosen by the replay, as the official code does."""
    options = arguments(case.config, case.weights)
    full = (options["resolution"] // 2 ** (len(options["multipliers"]) - 1)) ** 2
    tokenizer = MergeVQ(**{**options, "keep": full, "candidates": None})
    load_official(tokenizer, case.weights)
    return tokenizer.train()


def _quantised(case: Case, tokenizer: MergeVQ, before: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Terms of the quantiser and the quantised latents of latents [B, bits, K]."""
    codes = tokenizer.bottleneck(before[:, :, None])
    entropies = tokenizer.bottleneck.entropies(before.transpose(1, 2))
    sharp, even = case.config.get("weights") or (1.0, 1.0)
    terms = {
        "per_sample_entropy": entropies.sample,
        "codebook_entropy": entropies.codebook,
        "entropy_loss": sharp * entropies.sample - even * entropies.codebook,
        "commitment": (before - codes.latents[:, :, 0].detach()).square().mean(),
        "indices": codes.indices[:, 0],
    }
    return terms, codes.latents[:, :, 0]


def replay_full(case: Case) -> dict[str, Tensor]:
    """The whole tokenizer in training mode: codes, image, every loss term, gradients."""
    config, inputs, tokenizer = case.config, case.inputs, _tokenizer(case)
    encoder = tokenizer.encoder
    keep_count = _keep_count(config["ddconfig"], encoder.depth)
    if "rand" in inputs:
        keep_count.sample(float(inputs["rand"].double()))
    encoded = encoder(inputs["image"], keep_count.merge_schedule())
    before = encoder.latents(encoded)
    terms, quant = _quantised(case, tokenizer, before)
    full = tokenizer.unmerge(quant, encoded.source, encoded.grid)
    reconstruction = tokenizer.decoder(full)
    fidelity = (inputs["image"] - reconstruction).abs().mean()
    outputs = {
        **terms,
        "quant": _square(quant),
        "latent": _square(before),
        "quant_full": full,
        "source": encoded.merged.source.to(torch.uint8),
        "reconstruction": reconstruction,
        "reconstruct_loss": fidelity,
    }
    loss = fidelity + _weighted(config, terms)
    if encoder.dist_head is not None:
        rep = encoder.represent(encoder(inputs["image_aug"], keep_count.merge_schedule()))
        aligned = _alignment(config["cls_loss_type"], rep, inputs)
        loss = loss + config["loss"].get("cls_loss_weight", 1.0) * aligned
        outputs |= {"rep": rep, "cls_loss": aligned}
    outputs |= {"loss": loss, **gradients(loss, tokenizer, config["grads"])}
    return outputs


def _weighted(config: Mapping[str, Any], terms: Mapping[str, Tensor]) -> Tensor:
    """The quantiser's part of the generator loss."""
    options = config["loss"]
    boost = entropy_weight(
        config["global_step"],
        options.get("codebook_enlarge_ratio", 3),
        options.get("codebook_enlarge_steps", 2000),
    )
    entropy = options.get("codebook_weight", 1.0) * boost * terms["entropy_loss"]
    return entropy + options.get("commit_weight", 0.25) * terms["commitment"]


REPLAYS: dict[str, Replay] = {
    "mergevq_schedule": replay_schedule,
    "mergevq_encoder": replay_encoder,
    "mergevq_decoder": replay_decoder,
    "mergevq_source_recovery": replay_recovery,
    "mergevq_full": replay_full,
}
