"""Replays of iTPN: pretraining on pixels and on CLIP's features, the plain backbone, and the teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.checkpoints.official import OfficialModel
from mimgen.decoders.pyramid import FeatureHeads, PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder, PyramidTokens
from mimgen.encoders.patch_teachers import PatchTeacher
from mimgen.encoders.teachers import CLIP_MEAN, CLIP_STD, TransformersTeacher
from mimgen.masking.random import largest
from mimgen.methods.itpn import adapter as itpn
from mimgen.methods.itpn import adapter_clip as itpn_clip
from mimgen.methods.itpn.objective import ITPN, ITPNDistillation
from mimgen.methods.itpn.target import StandardisedFeatures
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, Tokens
from tests.parity.cases import Case, Replay
from tests.parity.clip_vision import vision_tower
from tests.parity.helpers import gradients, load_official

Rename = Callable[[str], str | None]


def replay_itpn(case: Case) -> dict[str, Tensor]:
    """The variant that a case is of, told by what it holds."""
    if "class_embedding" in case.weights:
        outputs = _teacher(case)
    elif "lm_head.weight" in case.weights:
        outputs = _features(case)
    elif "decoder_pred.weight" in case.weights:
        outputs = _pixels(case)
    else:
        outputs = _backbone(case)
    return outputs


def _encoder(case: Case, **more: Any) -> HiVitEncoder:
    """Our encoder for the official constructor's arguments, and for its weights where they say nothing."""
    config = case.config
    found = itpn.encoder_arguments({"num_heads": config.get("num_heads", 8)}, case.weights)
    renamed = {
        "mlp_ratio": "mlp_ratio",
        "bridge_mlp_ratio": "bridge_ratio",
        "img_size": "image_size",
        "norm_eps": "eps",
    }
    found |= {ours: config[name] for name, ours in renamed.items() if name in config}
    # recorded images are normalised already
    plain = {"mean": (0.0,) * found["channels"], "std": (1.0,) * found["channels"]}
    return HiVitEncoder(**{**found, **plain, **more})


def _load(model: nn.Module, case: Case, rename: Rename) -> None:
    load_official(model, case.weights, rename)


def _shared(case: Case, encoder: HiVitEncoder) -> dict[str, Any]:
    """Arguments of decoder and heads that follow from the encoder's."""
    return {
        "pyramid_width": len(case.weights["decoder_embed.0.0.weight"]),
        "levels": itpn.levels_of(case.weights),
        **{name: encoder.config[name] for name in ("image_size", "patch", "mlp_ratio", "qkv_bias", "eps")},
    }


def _pixels(case: Case) -> dict[str, Tensor]:
    """Pyramid, prediction, mask, loss and gradients of one step of the pixel variant."""
    config, images, noise = case.config, case.inputs["images"], case.inputs["noise"]
    encoder = _encoder(case, stretched=True)
    decoder = PyramidDecoder(
        **_shared(case, encoder),
        width=config.get("decoder_embed_dim", 512),
        depth=config.get("decoder_depth", 8),
        heads=config.get("decoder_num_heads", 16),
        output=len(case.weights["decoder_pred.weight"]),
    )
    model = OfficialModel(encoder, decoder)
    _load(model, case, itpn.ADAPTER.our_key)
    kept = int(noise.shape[1] * (1 - config.get("mask_ratio", 0.75)))
    mask = Mask(largest(noise, noise.shape[1] - kept))
    target = PixelTarget(encoder.patch, mean=encoder.config["mean"], std=encoder.config["std"], last=True)
    objective = ITPN(encoder, decoder, target, lambda grid, rng: mask).train()
    tokens = encoder.pyramid(images, mask)
    return {
        **_levels(tokens, mask, noise.argsort(dim=1, stable=True)[:, :kept]),
        "pred": decoder(tokens, mask),
        "mask": mask.masked.float(),
        **_loss(objective(Batch(images), mask).total, model, case, itpn.ADAPTER.our_key),
    }


def _levels(tokens: PyramidTokens, mask: Mask, kept: Tensor) -> dict[str, Tensor]:
    """The pyramid with patches in the official order, which is that of their noise."""
    position = torch.searchsorted(mask.keep.contiguous(), kept.contiguous())[..., None, None, None]
    return {
        f"pyramid_{number}": level.gather(1, position.expand_as(level))
        for number, level in enumerate(tokens.pyramid)
    }


def _features(case: Case) -> dict[str, Tensor]:
    """Pyramid, predictions, losses and gradients of one step of the CLIP variant."""
    config, images = case.config, case.inputs["images"]
    masked, goal = case.inputs["mask"].bool(), case.inputs["teacher_features"]
    encoder = _encoder(case, mask_token=True)
    heads = FeatureHeads(
        **_shared(case, encoder),
        width=encoder.dim,
        heads=encoder.config["heads"],
        output=goal.shape[-1],
        depth=len(
            [key for key in case.weights if key.startswith("cls_pt_layers.") and key.endswith("norm1.bias")]
        ),
        relative=encoder.relative,
        layer_scale=encoder.config["layer_scale"],
        block_eps=config.get("auxiliary_block_norm_eps", 1e-5),
    )
    model = OfficialModel(encoder, heads)
    _load(model, case, itpn_clip.ADAPTER.our_key)
    target = StandardisedFeatures(_FixedTeacher(heads.dim, encoder.patch))
    objective = ITPNDistillation(encoder, heads, target).train()
    tokens = encoder.pyramid(images, Mask(masked), layers=(objective.layer,))
    target.forward = lambda *_: goal  # type: ignore[method-assign, assignment]
    predicted, losses = heads(tokens), objective(Batch(images), Mask(masked))
    return {
        **{f"pyramid_{number}": level for number, level in enumerate(tokens.pyramid)},
        "auxiliary": heads.early(tokens.levels[0]),
        "prediction": predicted.main,
        "auxiliary_prediction": predicted.auxiliary,
        "loss_main": losses.terms["features"],
        "loss_auxiliary": losses.terms["auxiliary"],
        **_loss(losses.total, model, case, itpn_clip.ADAPTER.our_key),
    }


class _FixedTeacher(nn.Module):
    """Stands for the teacher where its features are recorded."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.dim, self.patch = dim, patch

    def forward(self, images: Tensor) -> Tokens:
        raise NotImplementedError("the features of the teacher are given")


def _loss(loss: Tensor, model: nn.Module, case: Case, rename: Rename) -> dict[str, Tensor]:
    """The loss and the recorded gradients, by the official names of their parameters."""
    official = [name.removeprefix("grad/") for name in case.outputs if name.startswith("grad/")]
    named = {name: rename(name) or "" for name in official}
    ours = gradients(loss, model, list(named.values()))
    return {"loss": loss, **{f"grad/{name}": ours[f"grad/{named[name]}"] for name in official}}


def _backbone(case: Case) -> dict[str, Tensor]:
    """Features and logits of the backbone that is fine-tuned."""
    encoder = _encoder(case).eval()
    _load(OfficialModel(encoder), case, itpn.ADAPTER.our_key)
    images = case.inputs["images"]
    outputs = {"features": encoder(images).patches}
    return outputs if encoder.head is None else {**outputs, "logits": encoder.classify(images)}


def _teacher(case: Case) -> dict[str, Tensor]:
    """The target of the CLIP variant, with the release's mistake about the range of its images."""
    model, projection = vision_tower(case.config, case.weights)
    teacher = TransformersTeacher(model, CLIP_MEAN, CLIP_STD, int(model.config.image_size))
    target = StandardisedFeatures(PatchTeacher(teacher, projection), half_range=True)
    images = case.inputs["images"]
    return {"scaled_images": (target.rescaled(images) - teacher.mean) / teacher.std, "target": target(images)}


REPLAYS: dict[str, Replay] = {"itpn": replay_itpn}
