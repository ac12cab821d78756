"""MergeVQ (arXiv 2504.00999): one tokenizer that represents an image with as many tokens as asked for."""

from __future__ import annotations

import math

from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.merging import unmerge_by_source
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.tokenizers.magvit2.layers import level_blocks
from mimgen.tokenizers.mergevq.codes import MergedCodes
from mimgen.tokenizers.mergevq.decoder import MergingDecoder
from mimgen.tokenizers.mergevq.encoder import MergingEncoder
from mimgen.tokenizers.mergevq.recovery import SourceRecovery, hard_source
from mimgen.tokenizers.mergevq.schedule import (
    KeepCounts,
    check_keep,
    keep_counts,
    layer_merge_schedule,
    reachable_squares,
)
from mimgen.tokenizers.quantizers import LookupFreeQuantizer
from mimgen.types import Codes


class MergeVQ(PretrainedModule):
    """Convolutions or patches, attention that merges tokens, binary codes, and a decoder for the full grid.

    No method leaves anything behind: codes carry their source matrix with them. The state dict does not
    depend on the number of kept tokens.

    The default is the official G+R model of width 512 at 256 px: 16 x 16 tokens, 144 of them kept. G has
    four multipliers (1, 2, 4, 8), keep=256, candidates="gaussian-9", head="layer2"; R has patch_width=768,
    encoder_heads=12, keep=64.

    Args:
        resolution: side of the images; other sizes work too, except with learned recovery.
        channels: width of the finest convolutional level.
        multipliers: width of each level in units of `channels`; each level after the first halves the grid.
        blocks: residual blocks a level of the encoder, one number or one for each level, finest first.
        decoder_blocks: the same of the decoder; None for one more, except at the finest level.
        bits: channels of the latents, each a bit of the id: 2 ** bits codes. Channel j is bit j.
        layers: attention blocks of the encoder.
        heads: attention heads.
        decoder_layers: attention blocks of the decoder; None for as many.
        encoder_heads: attention heads of the encoder; None for as many as the decoder has.
        patch_width: None for the convolutional encoder (G, G+R); else width of a transformer on patches (R).
        keep: number of kept tokens in the middle of the candidates, a square.
        candidates: keep counts sampled while training, "<distribution>-<n>" with gaussian, exponential or
            uniform, see `keep_counts`; None for `keep` alone.
        head: "layer2", "layer3" or None, the head on the class token.
        rep_dim: width of the head's output, that of the teacher (768 for DINOv2-B).
        rep_layers: further attention blocks in front of the head.
        recovery_layers: cross-attention blocks of learned source recovery (2 in the paper); 0 for none.
        recovery_self_layers: self-attention blocks behind them (2 in the paper, 0 in the release).
        recovery_width: its width.
        recovery_heads: its attention heads.
        drop_path: of the first attention block, falling to 0.
        commitment: weight of mean (latent - sign)^2.
        entropy: weight of sample entropy - codebook entropy.

    Raises:
        UserError: `keep` is not a square that the layers can reach, or counts do not fit one another.
    """

    def __init__(
        self,
        resolution: int = 256,
        channels: int = 64,
        multipliers: tuple[int, ...] = (1, 1, 2, 4, 8),
        blocks: int | tuple[int, ...] = 4,
        decoder_blocks: int | tuple[int, ...] | None = None,
        bits: int = 18,
        layers: int = 12,
        heads: int = 8,
        decoder_layers: int | None = None,
        encoder_heads: int | None = None,
        patch_width: int | None = None,
        keep: int = 144,
        candidates: str | None = "gaussian-6",
        head: str | None = "layer3",
        rep_dim: int = 768,
        rep_layers: int = 0,
        recovery_layers: int = 0,
        recovery_self_layers: int = 2,
        recovery_width: int = 384,
        recovery_heads: int = 8,
        drop_path: float = 0.0,
        commitment: float = 0.25,
        entropy: float = 0.1,
    ) -> None:
        super().__init__()
        self.downsample = 2 ** (len(multipliers) - 1)
        if resolution % self.downsample:
            raise UserError(f"resolution {resolution} must be a multiple of {self.downsample}, the side of a token")
        self.tokens = (resolution // self.downsample) ** 2
        self.layers, self.keep = layers, keep
        check_keep(keep, self.tokens, self.keep_counts)
        self.schedule: KeepCounts = keep_counts(keep, candidates)
        for count in self.schedule.counts:
            check_keep(count, self.tokens, self.keep_counts)
        self.encoder = MergingEncoder(
            channels,
            multipliers,
            blocks,
            bits,
            layers,
            encoder_heads or heads,
            patch_width=patch_width,
            rep_layers=rep_layers,
            head=head,
            rep_dim=rep_dim,
            drop_path=drop_path,
        )
        self.decoder = MergingDecoder(
            channels,
            multipliers,
            _decoder_blocks(blocks, decoder_blocks, len(multipliers)),
            bits,
            layers if decoder_layers is None else decoder_layers,
            heads,
            drop_path=drop_path,
        )
        self.bottleneck = LookupFreeQuantizer(
            bits, commitment=commitment, entropy=entropy, normalise=False, little_endian=True, logarithm="shift"
        )
        self.codebook_size: int = self.bottleneck.codebook_size
        self.recovery = (
            SourceRecovery(
                bits,
                self.tokens,
                recovery_width,
                recovery_layers,
                recovery_heads,
                self_layers=recovery_self_layers,
            )
            if recovery_layers
            else None
        )

    @property
    def keep_counts(self) -> tuple[int, ...]:
        """The keep counts that work at `resolution`, ascending; the last is "nothing merged"."""
        return reachable_squares(self.tokens, self.layers)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.decoder.conv_out.weight

    def merge_schedule(self, tokens: int, keep: int | None = None) -> tuple[int, ...]:
        """Tokens that each block removes so that `keep` of `tokens` tokens are left.

        None keeps the same share as `keep` of the constructor does, rounded to a square.

        Raises:
            UserError: not a square, or more or fewer than the blocks can leave.
        """
        allowed = reachable_squares(tokens, self.layers)
        if keep is None:
            wanted = math.sqrt(tokens * self.keep / self.tokens)
            keep = min(allowed, key=lambda count: abs(math.sqrt(count) - wanted))
        check_keep(keep, tokens, allowed)
        return layer_merge_schedule(keep, tokens, self.layers)

    def merge(self, images: Tensor, keep: int | None = None) -> MergedCodes:
        """Encode images [B, 3, H, W] in [0, 1] and return all that is known, for training objectives.

        Args:
            images: sides multiples of `downsample`.
            keep: kept tokens K, a square; None for the share of the constructor's.

        Raises:
            UserError: images that do not divide, or a keep count that does not work; see `keep_counts`.
        """
        check_images(images, self.downsample)
        rows, columns = images.shape[2] // self.downsample, images.shape[3] // self.downsample
        encoded = self.encoder(images * 2 - 1, self.merge_schedule(rows * columns, keep))
        before = self.encoder.latents(encoded)  # [B, bits, K]
        kept = self.bottleneck(before[:, :, None])  # a map of height 1, [B, bits, 1, K]
        indices, latents = kept.indices[:, 0], kept.latents[:, :, 0]  # [B, K] and [B, bits, K]
        codes = Codes(
            self.unmerge(indices[:, None], encoded.source, encoded.grid)[:, 0],
            self.unmerge(latents, encoded.source, encoded.grid),
            kept.losses,
            encoded.source,
        )
        return MergedCodes(codes, encoded, before, latents, indices)

    def encode(self, images: Tensor, keep: int | None = None) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes on the full grid; positions of one group share a code.

        Returns:
            ids [B, h, w], latents [B, bits, h, w], and `source` [B, K, h w], boolean.

        Raises:
            UserError: as `merge`.
        """
        return self.merge(images, keep).codes

    def represent(self, images: Tensor, keep: int | None = None) -> Tensor:
        """The head's output [B, rep_dim] for images [B, 3, H, W] in [0, 1], for alignment to a teacher.

        Args:
            images: sides multiples of `downsample`; often another view, of another size.
            keep: counted on the grid of `resolution`; images of another size lose as many tokens, or as
                many as the blocks can remove.

        Raises:
            UserError: built without a head, or as `merge`.
        """
        check_images(images, self.downsample)
        return self.encoder.represent(self.encoder(images * 2 - 1, self.merge_schedule(self.tokens, keep)))

    @staticmethod
    def unmerge(values: Tensor, source: Tensor, grid: tuple[int, int]) -> Tensor:
        """Values of the kept tokens [B, C, K] to the grid [B, C, h, w] with `source` [B, K, h w]."""
        return unmerge_by_source(source, values.transpose(1, 2)).transpose(1, 2).unflatten(2, grid)

    def recover(self, latents: Tensor) -> Tensor:
        """Logits [B, K, N] of the source matrix from kept codes [B, bits, K]; softmax over K.

        Raises:
            UserError: built without learned recovery.
        """
        if self.recovery is None:
            raise UserError(
                "this MergeVQ has no learned source recovery: build it with recovery_layers=2, or give a source"
            )
        return self.recovery(latents.transpose(1, 2))  # [B, K, N]

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents [B, bits, h, w] or ids [B, h, w] on the full grid to images, clipped to [0, 1]."""
        return self.reconstruct(latents_of(codes, self, self.bottleneck.dim)).clamp(0, 1)

    def decode_merged(
        self, codes: Tensor, source: Tensor | None = None, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """Kept codes to images [B, 3, H, W], clipped to [0, 1].

        Args:
            codes: ids [B, K] int64, or latents [B, bits, K].
            source: [B, K, N] 0/1; None to recover it from the codes.
            grid: rows and columns of the N positions; None for a square.

        Raises:
            UserError: ids out of range, a source that does not fit, or none and no learned recovery.
        """
        # A row of ids is a grid of height 1 to `lookup`.
        latents = codes if codes.is_floating_point() else latents_of(codes[:, None], self)[:, :, 0]
        if source is None:
            source = hard_source(self.recover(latents))
        side = math.isqrt(source.shape[2])
        rows, columns = grid or (side, side)
        if source.shape != (len(latents), latents.shape[2], rows * columns):
            raise UserError(
                f"{latents.shape[2]} codes on a grid of {rows} x {columns} need a source "
                f"[{len(latents)}, {latents.shape[2]}, {rows * columns}], got {list(source.shape)}: give the "
                "source of these codes and the grid of their image"
            )
        return self.decode(self.unmerge(latents, source, (rows, columns)))

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, bits, h, w] to images before clipping, so that a loss has gradients everywhere."""
        return (self.decoder(latents) + 1) / 2

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, bits, h, w]."""
        return self.bottleneck.lookup(indices)

    def forward(self, images: Tensor, keep: int | None = None) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, H, W], codes); the training path.

        Objectives that need more call `merge`, then `reconstruct(merged.codes.latents)`,
        `encoder.represent(merged.encoded)` and `recover(merged.latents.detach())`.
        """
        codes = self.encode(images, keep)
        return self.reconstruct(codes.latents), codes


def _decoder_blocks(
    encoder: int | tuple[int, ...], decoder: int | tuple[int, ...] | None, levels: int
) -> tuple[int, ...]:
    """Blocks of the decoder's levels; by default the encoder's list, or one more where that is one number."""
    if decoder is not None:
        return level_blocks(decoder, levels)
    counts = level_blocks(encoder, levels)
    return counts[:1] + tuple(count + isinstance(encoder, int) for count in counts[1:])
