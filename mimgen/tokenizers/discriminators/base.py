"""What every discriminator is: a saved part that scores images."""

from __future__ import annotations

from torch import Tensor

from mimgen.pretrained import PretrainedModule
from mimgen.types import SampleRNG


class Discriminator(PretrainedModule):
    """A network from images [B, 3, H, W] in [-1, 1] to logits [B, ...]; positive means real."""

    def view(self, images: Tensor, rng: SampleRNG) -> Tensor:
        """What of the images [B, 3, H, W] the network is shown in training: here, all of it.

        Args:
            images: in [-1, 1].
            rng: random streams, one per image, for discriminators that look at random parts.
        """
        return images
