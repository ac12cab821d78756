"""HAP: body parts are masked first, and two masked views of a person agree (arXiv 2310.20695).

Masked: half of the patches, twice, those of body parts first. In their place: nothing. Looks: MAE's encoder,
at each view; then MAE's decoder. Targets: the pixels, normalised by patch. Loss: mean squared error of masked
patches in both views + contrastive loss between the two class tokens.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.hap.masking import BODY, Parts, part_patches
from mimgen.ops.distributed import distributed_mean, gather_rows, world_size
from mimgen.targets import PixelTarget
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask, Tokens


class HAP(Trainable):
    """Objective: reconstruction of both views + weight * alignment of their class tokens (HAP, equation 4).

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
        if decoder.dim != target.dim:
            raise UserError(
                f"the decoder predicts {decoder.dim} numbers per patch and the target has {target.dim}: build both for "
                "the same patch"
            )
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.masking = masking or Parts()
        self.alignment_weight, self.temperature = alignment_weight, temperature

    def forward(self, batch: Batch) -> Losses:
        """Terms "reconstruction" and, unless its weight is 0, "alignment"; metric "matched"."""
        images, patch = batch.images, self.target.patch
        grid = (images.shape[-2] // patch, images.shape[-1] // patch)
        guide = part_patches(self._keypoints(batch), grid, patch)
        # the second call samples on where the first stopped, so the two masks are independent
        masks = [self.masking(grid, batch.rng, guide) for _ in range(2)]
        first, second = (Mask(mask.masked.to(images.device)) for mask in masks)
        return self.losses(images, first, second)

    def losses(self, images: Tensor, first: Mask, second: Mask) -> Losses:
        """The losses of images [B, 3, H, W] in [0, 1] for chosen masks of the two views."""
        views = [self.encoder(images, mask) for mask in (first, second)]
        errors = [self.reconstruction(images, tokens, mask) for tokens, mask in zip(views, (first, second))]
        terms, metrics = {"reconstruction": (errors[0] + errors[1]) / 2}, {}
        if self.alignment_weight:
            a, b = (tokens.prefix[:, 0] for tokens in views)
            terms["alignment"] = contrast(a, b, self.temperature) + contrast(b, a, self.temperature)
            metrics["matched"] = matched(a, b)
        return Losses(terms, {"alignment": self.alignment_weight}, metrics)

    def reconstruction(self, images: Tensor, tokens: Tokens, mask: Mask) -> Tensor:
        """Mean error of masked patches of one view, a scalar."""
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
