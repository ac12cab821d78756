"""BEiT v2: predict the codes of masked patches, twice (arXiv 2208.06366).

Masked: blocks of patches. In their place: the mask token. Looks: BEiT's network, and a bottleneck that sees deep
layers through the class token only. Targets: ids that a tokenizer gives the intact image. Loss: cross-entropy of
the last layer and of the bottleneck.
"""

from __future__ import annotations

from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.base import Masking
from mimgen.methods.beitv2.network import BeitPretraining
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import CodeTarget
from mimgen.tokenizers import ImageQuantizer
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask


class BEiTv2(Trainable):
    """Objective: mean cross-entropy of masked patches' codes, by both heads (BEiT v2, equations 4 and 5).

    Args:
        encoder: network with a code head; what is kept afterwards. Without bottleneck there is one term (BEiT).
        tokenizer: one code per patch, as `VqKd`; frozen.
        masking: which patches are masked.
        bottleneck_weight: of the bottleneck's cross-entropy.

    Raises:
        UserError: an encoder that does not fit the tokenizer.
    """

    def __init__(
        self,
        encoder: BeitPretraining,
        tokenizer: ImageQuantizer,
        masking: Masking | None = None,
        *,
        bottleneck_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.codes, self.masking = encoder, CodeTarget(tokenizer), masking or Block()
        second = encoder.cls_pt_lm_head
        heads = {encoder.lm_head.out_features, *(() if second is None else (second.out_features,))}
        if self.codes.patch != encoder.patch or heads != {self.codes.dim}:
            raise UserError(
                f"the tokenizer has {self.codes.dim} codes for patches of {self.codes.patch} pixels: build the "
                f"encoder with codes={self.codes.dim} and patch={self.codes.patch}, and second=None or {self.codes.dim}"
            )
        self.weights = {"bottleneck": bottleneck_weight}

    def forward(self, batch: Batch) -> Losses:
        """Terms "code" and "bottleneck" (nats a masked patch); metric `accuracy` of the last layer."""
        rows, columns = (side // self.encoder.patch for side in batch.images.shape[-2:])
        mask = self.masking((rows, columns), batch.rng)
        return self.losses(batch.images, Mask(mask.masked.to(batch.images.device)))

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of images [B, 3, H, W] in [0, 1] for a chosen mask of their patches."""
        return self.of_maps(self.encoder.normalised(images), self.codes(images), mask)

    def of_maps(self, maps: Tensor, ids: Tensor, mask: Mask) -> Losses:
        """The same for normalised images [B, 3, H, W] and the ids [B, N] of their patches."""
        scored, count = mask.predict, mask.predict.sum()
        goal, predicted = ids[scored], self.encoder.predict_maps(maps, mask.masked, scored)
        terms = {"code": distributed_mean(self.codes.loss(predicted.codes, goal).sum(), count)}
        if predicted.second is not None:
            terms["bottleneck"] = distributed_mean(self.codes.loss(predicted.second, goal).sum(), count)
        right = (predicted.codes.argmax(-1) == goal).float()
        return Losses(terms, self.weights, {"accuracy": distributed_mean(right.sum(), count)})
