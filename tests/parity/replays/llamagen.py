"""Replays of LlamaGen's tokenizer."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.tokenizers.llamagen.model import LlamaGenVQ
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients, load_official

UNUSED = {"encoder": ("decoder", "post_quant_conv"), "decoder": ("encoder", "quant_conv"), None: ()}


def _model(case: Case) -> LlamaGenVQ:
    """The part of the tokenizer that the case has weights for, in training mode."""
    vq, part = case.config["vq"], case.config.get("part")
    encoder, decoder = tuple(vq["encoder_ch_mult"]), tuple(vq["decoder_ch_mult"])
    used = case.weights.get("quantize.codebook_used")
    model = LlamaGenVQ(
        channels=case.config["ch"],
        multipliers=decoder if part == "decoder" else encoder,
        decoder_multipliers=encoder if part == "encoder" else decoder,
        blocks=case.config["num_res_blocks"],
        z_channels=vq["z_channels"],
        codebook_size=vq["codebook_size"],
        code_dim=vq["codebook_embed_dim"],
        cosine=vq["codebook_l2_norm"],
        commitment=vq["commit_loss_beta"],
        entropy=vq["entropy_loss_ratio"],
        usage_window=len(used) if used is not None else 0,
    )
    for name in UNUSED[part]:
        delattr(model, name)
    load_official(model, case.weights)
    return model.train()


def _decoded(case: Case, model: LlamaGenVQ) -> dict[str, Tensor]:
    """Codes to images."""
    grid = case.config["grid"]
    codes = case.inputs["codes"]
    entries = model.lookup(codes.view(len(codes), grid, -1))
    reconstruction = model.decoder(model.post_quant_conv(entries))
    return {"entries": entries, "reconstruction": reconstruction, "loss": reconstruction.square().mean()}


def _encoded(case: Case, model: LlamaGenVQ) -> dict[str, Tensor]:
    """Images in [-1, 1] to codes with the quantiser's terms, and back where there is a decoder."""
    image = case.inputs["image"]
    latent = model.quant_conv(model.encoder(image))
    codes = model.quantize(latent)
    losses = codes.losses
    assert codes.indices is not None
    outputs = {
        "latent": latent,
        "quant": codes.latents,
        "indices": codes.indices.flatten(1),
        "vq_loss": losses["codebook"],
        "commit_loss": losses["commitment"],
        "entropy_loss": losses.get("entropy", torch.zeros(())),
        "codebook_usage": model.quantize.usage(),
    }
    if case.config.get("part") == "encoder":
        rest = (codes.latents * case.inputs["cotangent"]).mean()
    else:
        outputs["reconstruction"] = model.decoder(model.post_quant_conv(codes.latents))
        rest = (outputs["reconstruction"] - image).square().mean()
    return {**outputs, "loss": sum(losses.values(), rest)}


def replay_llamagen_vq(case: Case) -> dict[str, Tensor]:
    """Encoder, quantiser, decoder, or all of them, with gradients."""
    model = _model(case)
    outputs = _decoded(case, model) if case.config.get("part") == "decoder" else _encoded(case, model)
    outputs.update(gradients(outputs["loss"], model, case.config.get("grads", [])))
    return outputs


REPLAYS: dict[str, Replay] = {"llamagen_vq": replay_llamagen_vq}
