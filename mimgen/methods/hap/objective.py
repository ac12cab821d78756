"""HAP: body parts are masked first, and two masked views of a person agree (arXiv 2310.20695)."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.base import Objective, check_width, grid_of
from mimgen.methods.hap.masking import BODY, Parts, part_patches
from mimgen.ops.distributed import distributed_mean, gather_rows, world_size
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Losses, Mask, Tokens


class HAP(Objective):
    """Reconstruction of both views + weight * alignment of their class tokens (HAP, equation 4).

    Half of the patches are masked twice, those of body parts first, and left out of MAE's encoder. MAE's decoder
    predicts the pixels of masked patches in both views, and a contrastive loss aligns the two class tokens.

    Args:
        encoder: with a class token, masked patches left out; what is kept afterwards.
        decoder: MAE's.
        target: pixels.
        masking: which patches are masked; needs `Batch.extras["keypoints"]` unless it uses no parts.
        alignment_weight: of the contrastive loss; 0 leaves it out.
        temperature: of the contrastive loss.

    Raises:
        UserError: an encoder without class token, or a decoder and a target of different patches.
    """

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: MaeDecoder,
        target: PixelTarget,
        masking: Parts | None = None,
        *,
        alignment_weight: float = 0.05,
        temperature: float = 0.2,
    ) -> None:
        super().__init__()
        if encoder.prefix == 0:
            raise UserError("views are aligned by their class tokens: build the encoder with class_token=True")
        check_width(decoder, target)
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.masking = masking or Parts()
        self.alignment_weight, self.temperature = alignment_weight, temperature

    def forward(self, batch: Batch, mask: Mask | None = None, second: Mask | None = None) -> Losses:
        """Terms "reconstruction" and, unless its weight is 0, "alignment"; metric "matched".

        Args:
            batch: images [B, 3, H, W], and keypoints unless the masking uses no parts.
            mask: of the first view [B, N]; by default sampled, as is the second.
            second: of the second view [B, N].
        """
        # sampled one after the other from the same streams, so the two masks are independent
        masks = [self.mask(batch) if view is None else view for view in (mask, second)]
        views = [self.encoder(batch.images, view) for view in masks]
        errors = [self._reconstruction(batch.images, tokens, view) for tokens, view in zip(views, masks)]
        terms, metrics = {"reconstruction": (errors[0] + errors[1]) / 2}, {}
        if self.alignment_weight:
            a, b = (tokens.prefix[:, 0] for tokens in views)  # [B, D] each
            terms["alignment"] = contrast(a, b, self.temperature) + contrast(b, a, self.temperature)
            metrics["matched"] = matched(a, b)
        return Losses(terms, {"alignment": self.alignment_weight}, metrics)

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of one view; the next call samples another."""
        grid = grid_of(batch.images, self.target.patch)
        guide = part_patches(self._keypoints(batch), grid, self.target.patch)
        return self.masking(grid, batch.rng, guide).to(batch.images.device)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the decoder's output for every patch."""
        return self.decoder(self.encoder(batch.images, mask), mask)

    def _reconstruction(self, images: Tensor, tokens: Tokens, mask: Mask) -> Tensor:
        """Mean error per masked patch of one view, a scalar."""
        predicted, masked = self.decoder(tokens, mask), mask.predict
        error = self.target.loss(predicted[masked], self.target(images, mask)[masked])
        return distributed_mean(error.sum(), masked.sum())

    def _keypoints(self, batch: Batch) -> Tensor:
        if "keypoints" in batch.extras:
            return batch.extras["keypoints"].cpu()
        if self.masking.maximum:
            raise UserError(
                "these data have no keypoints, which say where the parts of a body are: take figures or data with "
                "keypoints, or use no parts"
            )
        joints = 1 + max(joint for bones in BODY for bone in bones for joint in bone)
        return torch.zeros(len(batch), joints, 3)


def contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """2 T times the cross-entropy of predicting each query's key from those of all other images (InfoNCE).

    Keys are gathered from all processes and give no gradient.

    Args:
        queries: [B, D].
        keys: [B, D], in the order of the queries.
        temperature: T, by which the cosines are divided.
    """
    queries, keys = F.normalize(queries.float(), dim=-1), F.normalize(keys.float(), dim=-1)
    logits = queries @ gather_rows(keys).T / temperature
    return 2 * temperature * F.cross_entropy(logits, _positions(len(queries), logits.device))


@torch.no_grad()
def matched(queries: Tensor, keys: Tensor) -> Tensor:
    """Share of queries [B, D] whose nearest key [B, D] is their own; a scalar."""
    queries, keys = F.normalize(queries.float(), dim=-1), F.normalize(keys.float(), dim=-1)
    nearest = (queries @ gather_rows(keys).T).argmax(1)
    return (nearest == _positions(len(queries), nearest.device)).float().mean()


def _positions(count: int, device: torch.device) -> Tensor:
    """Where this process's keys lie among those of all."""
    rank = dist.get_rank() if world_size() > 1 else 0
    return rank * count + torch.arange(count, device=device)
