"""Who takes part in `python -m tests.bench generate` besides us: models and the scheduler of diffusers.

Two models: its own masked generator UVit2DModel of as many layers, and Meissonic put together from its blocks, which
computes the same function as ours of the same weights. Both generate with its AmusedScheduler, logits of all tokens in
every step, guidance in one pass of twice the images.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.encoders import TextStates
from mimgen.generators import MeissonicTransformer
from mimgen.layers.rope import axis_widths, grid_ids
from tests.bench.generate_shapes import Shape

__all__ = ["BLOCKS", "PEERS", "UVIT", "DiffusersMeissonic", "absent", "peer", "sample"]

UVIT, BLOCKS = "diffusers UVit2DModel", "diffusers' blocks"
PEERS = (UVIT, BLOCKS)
_SINCE = (0, 35)  # the single-stream block takes text and image apart
_MICRO = 256  # numbers of a micro-condition


def absent() -> str:
    """What must be installed before peers can run; empty where nothing is missing."""
    try:
        found = tuple(int(part) for part in version("diffusers").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        found = (0, 0)
    return "" if found >= _SINCE else f"diffusers>={'.'.join(map(str, _SINCE))}"


def peer(kind: str, shape: Shape, seed: int = 0) -> nn.Module:
    """One of `PEERS` with fresh weights; called as `DiffusersMeissonic`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (DiffusersMeissonic if kind == BLOCKS else _Uvit)(shape).eval()


class _Uvit(nn.Module):
    """UVit2DModel of the same width, heads and number of layers, without its further residual blocks."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        from diffusers import UVit2DModel

        self.model = UVit2DModel(
            hidden_size=shape.width,
            cond_embed_dim=shape.text_width,
            encoder_hidden_size=shape.text_width,
            vocab_size=shape.vocabulary,
            codebook_size=shape.codes,
            in_channels=shape.width,
            block_out_channels=shape.width,
            num_res_blocks=0,
            downsample=shape.compress,
            upsample=shape.compress,
            block_num_heads=shape.heads,
            num_hidden_layers=shape.joint + shape.single,
            num_attention_heads=shape.heads,
            intermediate_size=shape.width * 11 // 4,  # its own proportion
        )

    def forward(self, tokens: Tensor, states: Tensor, pooled: Tensor, rate: Tensor, sizes: Tensor) -> Tensor:
        """Logits [B, K, h, w]; this model is not told the rate."""
        return self.model(tokens, states, pooled, sizes)


class DiffusersMeissonic(nn.Module):
    """Meissonic of diffusers' public parts; names of the parameters are those of the release, and so ours.

    Args:
        shape: of the model.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        from diffusers.models.embeddings import CombinedTimestepTextProjEmbeddings, TimestepEmbedding
        from diffusers.models.normalization import RMSNorm
        from diffusers.models.transformers import transformer_flux as flux
        from diffusers.models.unets import uvit_2d as uvit

        width, heads, head = shape.width, shape.heads, shape.width // shape.heads
        self.time_text_embed = CombinedTimestepTextProjEmbeddings(width, width)
        self.context_embedder = nn.Linear(shape.text_width, width)
        self.encoder_proj_layer_norm = RMSNorm(width, 1e-6)
        self.cond_embed = TimestepEmbedding(shape.text_width + 5 * _MICRO, width, sample_proj_bias=False)
        self.embed = uvit.UVit2DConvEmbed(width, width, shape.vocabulary, True, 1e-6, False)
        resample = (width, 0, width, 0.0, True, 1e-6, False, heads, 0.0)
        self.down_block = uvit.UVitBlock(*resample, shape.compress, False)
        self.project_to_hidden_norm = RMSNorm(width, 1e-6)
        self.project_to_hidden = nn.Linear(width, width, bias=False)
        self.pos_embed = flux.FluxPosEmbed(10000, list(axis_widths(head)))
        joint = (flux.FluxTransformerBlock(width, heads, head) for _ in range(shape.joint))
        single = (flux.FluxSingleTransformerBlock(width, heads, head) for _ in range(shape.single))
        self.transformer_blocks, self.single_transformer_blocks = nn.ModuleList(joint), nn.ModuleList(single)
        self.project_from_hidden_norm = RMSNorm(width, 1e-6)
        self.project_from_hidden = nn.Linear(width, width, bias=False)
        self.up_block = uvit.UVitBlock(*resample, False, shape.compress)
        self.mlm_layer = uvit.ConvMlmLayer(width, width, False, True, 1e-6, shape.codes)

    def load_weights(self, ours: MeissonicTransformer) -> None:
        """Take over our weights, all of them."""
        state = ours.state_dict()
        # diffusers keeps this layer under two names
        doubled = {name: name.replace(".Conv2d_0.", ".conv.") for name in self.state_dict() if "Conv2d_0" in name}
        self.load_state_dict({**state, **{name: state[other] for name, other in doubled.items()}})

    def forward(self, tokens: Tensor, states: Tensor, pooled: Tensor, rate: Tensor, sizes: Tensor) -> Tensor:
        """Logits of all tokens.

        Args:
            tokens: [B, h, w] int64 ids.
            states: [B, T, text_width] text states.
            pooled: [B, text_width] pooled text.
            rate: [B] share that is masked.
            sizes: [B, 5] micro-conditions.

        Returns:
            [B, K, h, w].
        """
        condition = self._condition(pooled, rate, sizes)
        x = self.down_block(self.embed(tokens), None, None, None)
        rows, columns = x.shape[2:]
        x = self.project_to_hidden(self.project_to_hidden_norm(x.flatten(2).transpose(1, 2)))
        text = self.encoder_proj_layer_norm(self.context_embedder(states))
        ids = grid_ids(rows, columns, device=x.device)
        table = self.pos_embed(torch.cat([ids.new_zeros(text.shape[1], 3), ids]))
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            text, x = block(x, text, condition, table)
        x = self.project_from_hidden(self.project_from_hidden_norm(x))
        x = self.up_block(x.transpose(1, 2).unflatten(2, (rows, columns)), None, None, None)
        return self.mlm_layer(x)

    def _condition(self, pooled: Tensor, rate: Tensor, sizes: Tensor) -> Tensor:
        from diffusers.models.embeddings import get_timestep_embedding

        micro = get_timestep_embedding(sizes.flatten(), _MICRO, flip_sin_to_cos=True, downscale_freq_shift=0)
        vector = self.cond_embed(torch.cat([pooled, micro.view(len(sizes), -1).to(pooled.dtype)], dim=1))
        return self.time_text_embed(1000 * rate, vector)


@torch.no_grad()
def sample(
    model: nn.Module, shape: Shape, text: TextStates, negative: TextStates, steps: int, guidance: float, seed: int = 0
) -> Tensor:
    """Ids [B, h, w] by diffusers' scheduler, as its pipeline of masked generators calls it.

    Args:
        model: one of the peers.
        shape: its shape.
        text: states and pooled of B captions.
        negative: of what the unconditional branch reads.
        steps: unmasking steps.
        guidance: scale; 1 makes the conditional pass only.
        seed: of the random numbers.
    """
    from diffusers import AmusedScheduler

    device, count = text.states.device, len(text.states)
    scheduler: Any = AmusedScheduler(mask_token_id=shape.mask_id)
    scheduler.set_timesteps(steps, (2, 0), device)
    generator = torch.Generator(device).manual_seed(seed)
    tokens = torch.full((count, *shape.grid), shape.mask_id, device=device)
    both = [(negative.states, text.states), (negative.pooled, text.pooled)]
    states, pooled = (torch.cat(pair) for pair in both) if guidance != 1 else (text.states, text.pooled)
    sizes = torch.tensor(shape.sizes, device=device).expand(len(states), -1)
    for timestep in scheduler.timesteps:
        shown = torch.cat([tokens] * (len(states) // count))
        rate = (shown == shape.mask_id).flatten(1).float().mean(1)
        logits = model(shown, states, pooled, rate, sizes)
        if guidance != 1:
            unconditional, conditional = logits.chunk(2)
            logits = unconditional + guidance * (conditional - unconditional)
        tokens = scheduler.step(logits, timestep, tokens, generator=generator).prev_sample
    return tokens
