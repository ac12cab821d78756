"""What every discriminator is: a saved part that judges pictures."""

from __future__ import annotations

from torch import Tensor

from mimgen.pretrained import Part
from mimgen.types import Draws


class Discriminator(Part):
    """A network from pictures [B, 3, H, W] in [-1, 1] to logits [B, ...]; positive means real."""

    def view(self, images: Tensor, draws: Draws) -> Tensor:
        """What of the pictures [B, 3, H, W] the network is shown in training: here, all of it.

        Args:
            images: in [-1, 1].
            draws: random streams, one a picture, for discriminators that look at random parts.
        """
        return images
