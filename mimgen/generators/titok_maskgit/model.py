"""The class-conditional masked generators over TiTok's ids: a BERT body and a U-shaped ViT body.

The class is a token in front of the image tokens. Ids: 0 .. K-1 codes, K the mask, K + 1 + class the
classes, the last one for a dropped class.

Paper: Yu et al., "An Image is Worth 32 Tokens for Reconstruction and Generation", NeurIPS 2024 (arXiv
2406.07550), section 4.1; its generator is MaskGIT's (arXiv 2202.04200), the second body U-ViT's (arXiv
2209.12152). Parameter names are those of the official release.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.base import Conditioning, Prediction
from mimgen.generators.class_sampling import ClassPredictor
from mimgen.generators.titok_maskgit.bert import BertBlock, BertEmbeddings, init_bert
from mimgen.layers.blocks.vit import VitBlock
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.sampling import Arccos, Guidance
from mimgen.sampling.temperatures import Falling
from mimgen.sampling.token_sampler import TokenSampler

Body = Literal["bert", "uvit"]


class _BertBody(nn.Module):
    """Embeddings, post-norm blocks and the head of the BERT body."""

    def __init__(
        self, words: int, length: int, codes: int, width: int, depth: int, heads: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(words, length, width, dropout)
        blocks = [BertBlock(width, heads, hidden, dropout) for _ in range(depth)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(blocks)})
        self.lm_head = nn.Linear(width, codes)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, T] to states [B, T, D]."""
        x = self.embeddings(ids)
        blocks = self.encoder["layer"]
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            x = block(x)
        return x


class TiTokMaskGit(PretrainedModule):
    """Logits of masked TiTok ids from the visible ones and a class.

    Args:
        codebook_size: number K of codes.
        length: image tokens N.
        classes: labels 0 .. classes-1; `classes` itself is the dropped label of the guidance.
        body: "bert", post-norm blocks, or "uvit", pre-norm blocks whose second half sees the first's outputs.
        width: D.
        depth: blocks; of "uvit" depth // 2 on each side of a middle one.
        heads: attention heads, a divisor of `width`.
        hidden: width of the MLPs.
        dropout: on the outputs of attention and MLP while training.

    Attributes:
        mask_id: id K.
        dropped: the label that stands for no class.

    Raises:
        UserError: an unknown body, or `heads` that do not divide `width`.
    """

    def __init__(
        self,
        codebook_size: int = 4096,
        length: int = 32,
        classes: int = 1000,
        body: Body = "bert",
        width: int = 768,
        depth: int = 24,
        heads: int = 16,
        hidden: int = 3072,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if body not in ("bert", "uvit"):
            raise UserError(f'body "{body}": use "bert" or "uvit"')
        self.codebook_size, self.length, self.width = codebook_size, length, width
        self.mask_id, self.dropped = codebook_size, classes
        words = codebook_size + 1 + classes + 1
        if body == "bert":
            self.model = _BertBody(words, length + 1, codebook_size, width, depth, heads, hidden, dropout)
        else:
            self._make_uvit(words, depth, heads, hidden, dropout)
        init_bert(self)

    def _make_uvit(self, words: int, depth: int, heads: int, hidden: int, dropout: float) -> None:
        width, half = self.width, depth // 2
        self.embeddings = nn.Embedding(words, width)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, self.length + 1, width), std=0.02))
        self.in_blocks = nn.ModuleList([_UVitBlock(width, heads, hidden, dropout) for _ in range(half)])
        self.mid_block = _UVitBlock(width, heads, hidden, dropout)
        self.out_blocks = nn.ModuleList([_UVitBlock(width, heads, hidden, dropout, skip=True) for _ in range(half)])
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, self.codebook_size)

    conditioning: Conditioning = "class"
    prediction: Prediction = "masked_tokens"

    def predictor(self, condition: Tensor, grid: tuple[int, int]) -> ClassPredictor:
        """The sampler's `predict` for labels [B]."""
        return ClassPredictor(self, condition)

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Refuse another number of tokens than the generator has positions for.

        Raises:
            UserError: the tokenizer gives another number.
        """
        if grid[0] * grid[1] != self.length:
            raise UserError(
                f"{grid[0] * grid[1]} tokens per image; this generator was made for {self.length}: pass the tokenizer "
                "that it was trained with"
            )

    def recomputable_blocks(self) -> list[nn.Module]:
        """All blocks."""
        if self.config["body"] == "bert":
            return list(self.model.encoder["layer"])  # type: ignore[arg-type,call-overload]
        return [*self.in_blocks, self.mid_block, *self.out_blocks]

    def states(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """What the head reads: [B, N, D]. Arguments as for `forward`."""
        if tokens.shape[1] != self.length:
            raise UserError(f"{tokens.shape[1]} tokens per image; this generator was made for {self.length}")
        ids = torch.cat([labels[:, None] + self.codebook_size + 1, tokens], dim=1)
        if self.config["body"] == "bert":
            return self.model(ids)[:, 1:]
        x, skips = self.embeddings(ids) + self.pos_embed, []
        for block in self.in_blocks:
            x = block(x)
            skips.append(x)
        x = self.mid_block(x)
        for block in self.out_blocks:
            x = block(x, skips.pop())
        return self.norm(x)[:, 1:]

    def head(self, states: Tensor) -> Tensor:
        """States [..., D] to logits [..., K]."""
        return (self.model.lm_head if self.config["body"] == "bert" else self.lm_head)(states)

    def forward(self, tokens: Tensor, labels: Tensor, *, positions: Tensor | None = None) -> Tensor:
        """Logits of the tokens at `positions`.

        Args:
            tokens: [B, N] int64 ids, `mask_id` where masked.
            labels: [B] int64 classes, `dropped` for none.
            positions: [B, M] int64 positions to score; all N when None.

        Returns:
            [B, M, K] logits.

        Raises:
            UserError: as many tokens as the generator was not made for.
        """
        x = self.states(tokens, labels)
        if positions is not None:
            x = gather_tokens(x, positions)
        return self.head(x)


class _UVitBlock(VitBlock):
    """Pre-norm block without qkv bias; with `skip` its input is a projection of itself and an earlier output."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, skip: bool = False) -> None:
        # the half keeps the rounding inside from losing a channel
        super().__init__(width, heads, mlp_ratio=(hidden + 0.5) / width, eps=1e-5, qkv_bias=False)
        self.dropout = nn.Dropout(dropout)
        self.skip_linear = nn.Linear(2 * width, width) if skip else None

    def forward(self, x: Tensor, earlier: Tensor | None = None) -> Tensor:
        """[B, T, D] and, where the block has a skip, an earlier [B, T, D] -> [B, T, D]."""
        if self.skip_linear is not None:
            assert earlier is not None
            x = self.skip_linear(torch.cat([x, earlier], dim=-1))
        x = x + self.dropout(self.attn(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


def released_preset(
    steps: int = 8, *, guidance_scale: float = 4.0, temperature: float = 4.5
) -> dict[str, Any]:
    """How the authors sample with constant guidance; names as of the pipeline's preset.

    Args:
        steps: number of steps.
        guidance_scale: w of u + w (c - u); the release writes one less.
        temperature: of the noise on logits and on confidence; falls to 0 with the last step.
    """
    # the first step has come 1 / steps of the way already
    noise = (temperature * (steps - 1) / steps, 0.0)
    return {"steps": steps, "guidance_scale": guidance_scale, "order": "confidence", "schedule": "arccos",
            "choice_temperature": noise, "token_temperature": noise, "confidence": "logit"}  # fmt: skip


def released_sampling(
    steps: int = 8,
    *,
    guidance_scale: float = 3.0,
    decay: Literal["constant", "linear", "power-cosine"] = "constant",
    power: float = 3.0,
    temperature: float = 4.5,
    annealed: bool = False,
    gumbel_codes: int = 0,
) -> dict[str, Any]:
    """The arguments of `mimgen.sampling.unmask` with which the authors sample.

    Args:
        steps: number of steps.
        guidance_scale: w as in the release: c + w (c - u), but u + w (c - u) for "power-cosine".
        decay: course of the guidance.
        power: of "power-cosine".
        temperature: of the noise on logits and on confidence; falls to 0 with the last step.
        annealed: divide the logits by a number that falls to 0.5 from 1.3 before the first step.
        gumbel_codes: K to generate with the release's own random numbers, see
            `mimgen.sampling.token_sampler.TokenSampler`.
    """
    guidance = {
        "constant": Guidance(guidance_scale + 1),
        "linear": Guidance(guidance_scale + 1, rule="linear-from-one"),
        "power-cosine": Guidance(guidance_scale, rule="power-cosine", power=power),
    }
    if decay not in guidance:
        raise UserError(f'decay "{decay}": use one of {", ".join(guidance)}')
    return {
        "steps": steps,
        "schedule": Arccos(),
        "guidance": guidance[decay],
        "choice_temperature": Falling(temperature),
        "token_temperature": Falling(temperature),
        "logit_temperature": Falling(1.3, 0.5) if annealed else 1.0,
        "token_sampler": TokenSampler("logit", gumbel_codes),
    }
