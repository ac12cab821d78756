"""HPM's decoder: MAE's, and a second one that predicts the loss of every patch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mimgen.decoders.mae import MaeDecoder
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.init import init_weights
from mimgen.types import Mask, Tokens


@dataclass(frozen=True)
class HPMOutput:
    """What `LossPredictor` says of every patch.

    Attributes:
        patches: [B, N, output] prediction of the target.
        losses: [B, N] how far off it will be, on no particular scale.
    """

    patches: Tensor
    losses: Tensor


class LossPredictor(MaeDecoder):
    """Two decoders on one input: MAE's, and one that predicts its loss for each patch (HPM, section 3.2).

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table is made for.
        patch: side of a patch in pixels.
        encoder_width: width of the encoder's tokens.
        width: of both decoders.
        depth: blocks of each.
        heads: attention heads.
        output: numbers predicted for each patch; those of its pixels by default.
        prefix: class or register tokens of the encoder.
        mlp_ratio: hidden width of the MLPs over `width`.
        eps: of the layer norms.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        output: int | None = None,
        prefix: int = 1,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(
            image_size, patch, encoder_width, width, depth, heads, output, prefix, mlp_ratio, eps
        )
        self.blocks_losspred = nn.ModuleList(
            VitBlock(width, heads, mlp_ratio=mlp_ratio, eps=eps) for _ in range(depth)
        )
        self.norm_losspred = nn.LayerNorm(width, eps)
        # As wide as the other head, and averaged: that is what official weights look like.
        self.pred_losspred = nn.Linear(width, self.dim)
        for part in (self.blocks_losspred, self.pred_losspred):
            init_weights(part)

    def predict(self, tokens: Tokens, mask: Mask) -> HPMOutput:
        """Both predictions for every patch, masked or not; arguments as of `forward`, which gives the first."""
        x = self.joined(tokens, mask)
        return HPMOutput(self._through(x, self.blocks, self.norm, self.pred), self._predicted_loss(x))

    def predicted_loss(self, tokens: Tokens, mask: Mask) -> Tensor:
        """The predicted losses [B, N] alone."""
        return self._predicted_loss(self.joined(tokens, mask))

    def _predicted_loss(self, x: Tensor) -> Tensor:
        # in float32, as half precision knows too few numbers to put patches in order
        return self._through(x, self.blocks_losspred, self.norm_losspred, self.pred_losspred).float().mean(-1)

    def _through(self, x: Tensor, blocks: nn.ModuleList, norm: nn.Module, head: nn.Module) -> Tensor:
        for block in blocks:
            x = block(x)
        return head(norm(x))[:, self.prefix :]
