"""MAGE's transformer: an encoder that sees some of the tokens, a decoder that fills in the others.

Paper: "MAGE: MAsked Generative Encoder to Unify Representation Learning and Image Synthesis", CVPR 2023 (arXiv
2211.09117). The encoder has a class slot in front; its output stands at every masked place in the decoder. Parameter
names are those of the official release, whose spare ids and unused tensors are left out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.base import Conditioning, Prediction
from mimgen.layers.attention import attend
from mimgen.layers.blocks.vit import Mlp, VitBlock, init_linears
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.sampling.sampler import Predict

EPS = 1e-6
_HEAD_EPS = 1e-5


def released_preset(steps: int = 20, *, temperature: float = 4.5) -> dict[str, Any]:
    """How the authors sample; names as of the pipeline's preset.

    Args:
        steps: number of steps.
        temperature: of the noise on the confidence; falls to 0 with the last step.
    """
    # the first step has come 1 / steps of the way already
    noise = (temperature * (steps - 1) / steps, 0.0)
    return {"steps": steps, "guidance_scale": 1.0, "order": "confidence", "schedule": "cosine",
            "choice_temperature": noise}  # fmt: skip


class Embedding(nn.Module):
    """Class slot and token ids to normed vectors: word plus position."""

    def __init__(self, words: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.LayerNorm = nn.LayerNorm(width, EPS)
        nn.init.normal_(self.word_embeddings.weight, std=0.02)
        nn.init.normal_(self.position_embeddings.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] ids, the class slot first, to [B, T, D]."""
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]])


class Head(nn.Module):
    """States to logits: linear, GELU, layer norm, product with the table of the codes."""

    def __init__(self, width: int, output: int, codes: int) -> None:
        super().__init__()
        self.fc, self.ln = nn.Linear(width, output), nn.LayerNorm(output, _HEAD_EPS)
        self.bias = nn.Parameter(torch.zeros(codes))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """x [..., D] and the table [K, E] -> [..., K]."""
        return F.linear(self.ln(F.gelu(self.fc(x))), table, self.bias)


class DroppingBlock(VitBlock):
    """`VitBlock` with dropout on attention weights, inside of the MLP and on both branches."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__(width, heads, mlp_ratio=mlp_ratio, eps=EPS)
        # a ratio that was read off two widths gives back the very width
        self.mlp = DroppingMlp(width, int(mlp_ratio * width + 1e-6), dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        q, k, v = self.attn.project(self.norm1(x))
        mixed = attend(q, k, v, dropout=self.dropout.p if self.training else 0.0)
        x = x + self.dropout(self.attn.proj(mixed.flatten(2)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class DroppingMlp(Mlp):
    """`Mlp` with dropout behind the GELU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.fc2(self.dropout(F.gelu(self.fc1(x))))


class MageTransformer(PretrainedModule):
    """Masked tokens to logits of every token, and unmasked ones to features.

    Args:
        side: rows and columns of the token grid.
        codebook_size: number of codes K; id K is the class slot's, id K + 1 the mask.
        width: D of the encoder.
        depth: its blocks.
        heads: its attention heads.
        decoder_width: of the decoder.
        decoder_depth: its blocks.
        decoder_heads: its attention heads.
        mlp_ratio: hidden width of every MLP over the width.
        dropout: on embedded tokens, attention weights, inside of every MLP and on every branch, while training.
        positions: rows of the encoder's table of positions; one more than tokens when None. The release has 257.

    Attributes:
        dim: D.
        mask_id: id K + 1.

    Raises:
        UserError: widths that do not divide into heads, or fewer positions than tokens.
    """

    def __init__(
        self,
        side: int = 16,
        codebook_size: int = 1024,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_width: int = 768,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        positions: int | None = None,
    ) -> None:
        super().__init__()
        count = side * side + 1
        if positions is not None and positions < count:
            raise UserError(f"{positions} positions for {count - 1} tokens and a class slot: give at least {count}")
        self.side, self.codebook_size, self.dim, self.mask_id = side, codebook_size, width, codebook_size + 1
        self.depth = depth
        # behind the codes: the class slot, then the mask
        self.token_emb = Embedding(codebook_size + 2, positions or count, width)
        self.blocks = nn.ModuleList([DroppingBlock(width, heads, mlp_ratio, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, EPS)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.decoder_pos_embed_learned = nn.Parameter(0.02 * torch.randn(1, count, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            [DroppingBlock(decoder_width, decoder_heads, mlp_ratio, dropout) for _ in range(decoder_depth)]
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, EPS)
        self.mlm_layer = Head(decoder_width, width, codebook_size)
        self.dropout = nn.Dropout(dropout)
        init_linears(self)

    conditioning: Conditioning = "none"
    prediction: Prediction = "masked_tokens"

    def predictor(self, condition: None, grid: tuple[int, int]) -> Predict:
        """The sampler's `predict`; there is nothing to be conditioned on, and so no guidance."""

        def predict(tokens: Tensor, positions: Tensor, step: int, guided: bool) -> Tensor:
            if guided:
                raise UserError("MAGE is unconditional, and guidance needs a condition: leave out guidance")
            logits: Tensor = self(tokens, positions=positions)
            return logits

        return predict

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Refuse another grid than that of the learned positions.

        Raises:
            UserError: it is another one.
        """
        if grid != (self.side, self.side):
            raise UserError(
                f"{grid[0]} x {grid[1]} tokens for a transformer of {self.side} x {self.side}: generate images of the "
                "size that it was trained on"
            )

    def recomputable_blocks(self) -> list[nn.Module]:
        """All blocks of encoder and decoder."""
        return [*self.blocks, *self.decoder_blocks]

    def encode(self, tokens: Tensor, keep: Tensor | None = None, layers: tuple[int, ...] = ()) -> list[Tensor]:
        """The encoder (section 3.1).

        Args:
            tokens: [B, N] int64 ids, `mask_id` where masked.
            keep: [B, M] int64 positions that the encoder sees; all N when None.
            layers: blocks, from 0, whose output is returned, too.

        Returns:
            [B, 1 + M, D] for each of `layers`, then the normed output; the class slot comes first.

        Raises:
            UserError: a number of tokens that is not that of the grid.
        """
        if tokens.shape[1] != self.side**2:
            raise UserError(
                f"{tokens.shape[1]} tokens for a transformer of {self.side} x {self.side}: give images of that grid, "
                "or build it with another side"
            )
        x = self.token_emb(F.pad(tokens, (1, 0), value=self.codebook_size))
        if keep is not None:
            x = torch.cat([x[:, :1], gather_tokens(x[:, 1:], keep)], dim=1)  # [B, 1 + kept, D]
        x, levels = self.dropout(x), {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in layers:
                levels[index] = x
        return [*(levels[index] for index in layers), self.norm(x)]

    def decode(
        self, latent: Tensor, masked: Tensor, keep: Tensor | None = None, *, slot: bool = False
    ) -> Tensor:
        """The decoder's normed output [B, N, E].

        Args:
            latent: [B, 1 + M, D], what `encode` gave.
            masked: [B, N] boolean, true where the class slot's output stands for the token.
            keep: as for `encode`.
            slot: keep the class slot in front, [B, 1 + N, E].
        """
        x = self.decoder_embed(latent)  # [B, 1 + kept, E]
        # the decoder has no mask vector: the class slot stands in for masked and dropped tokens
        first, seen = x[:, :1], x[:, 1:]
        if keep is not None:
            everywhere = first.expand(-1, masked.shape[1], -1)
            seen = everywhere.scatter(1, keep[..., None].expand_as(seen), seen)  # [B, N, E]
        x = torch.cat([first, torch.where(masked[..., None], first, seen)], dim=1) + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x if slot else x[:, 1:])

    def head(self, states: Tensor) -> Tensor:
        """States [..., E] to logits [..., K]; no gradient reaches the table of words through here."""
        return self.mlm_layer(states, self.token_emb.word_embeddings.weight[: self.codebook_size].detach())

    def forward(self, tokens: Tensor, *, positions: Tensor | None = None) -> Tensor:
        """Logits of the tokens at `positions`, nothing dropped: a step of generation (section 3.2).

        Args:
            tokens: [B, N] int64 ids, row-major, `mask_id` where masked.
            positions: [B, M] int64 positions to score; all N when None.

        Returns:
            [B, M, K] logits.
        """
        x = self.decode(self.encode(tokens)[-1], tokens == self.mask_id)
        if positions is not None:
            x = gather_tokens(x, positions)
        return self.head(x)
