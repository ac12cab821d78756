"""Replays of Open-MAGVIT2's convolutional halves."""

from __future__ import annotations

from torch import Tensor

from mimgen.tokenizers.magvit2.model import MagvitDecoder, MagvitEncoder
from tests.parity.cases import Case, Replay
from tests.parity.helpers import gradients, load_official


def _replay(case: Case, kind: type[MagvitEncoder | MagvitDecoder]) -> dict[str, Tensor]:
    """y = module(x), loss = mean y^2."""
    args = case.config["args"]
    images = args["in_channels"] if kind is MagvitEncoder else args["out_ch"]
    # double_z keeps room for a variance, as in a VAE.
    double = 2 if args.get("double_z") and kind is MagvitEncoder else 1
    module = kind(
        args["ch"],
        args["ch_mult"],
        args["num_res_blocks"],
        double * args["z_channels"],
        image_channels=images,
    )
    load_official(module, case.weights)
    y = module.eval()(case.inputs["x"])
    loss = y.square().mean()
    return {"y": y.detach(), "loss": loss.detach(), **gradients(loss, module, case.config["grads"])}


def replay_encoder(case: Case) -> dict[str, Tensor]:
    """Images [B, 3, H, W] to latents."""
    return _replay(case, MagvitEncoder)


def replay_decoder(case: Case) -> dict[str, Tensor]:
    """A code map to images [B, 3, H, W]."""
    return _replay(case, MagvitDecoder)


REPLAYS: dict[str, Replay] = {
    "open_magvit2_encoder": replay_encoder,
    "open_magvit2_decoder": replay_decoder,
}
