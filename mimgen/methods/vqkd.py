"""Training of VQ-KD: codes from which a shallow decoder predicts a teacher's features (BEiT v2, section 2.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.targets import Target
from mimgen.tokenizers.usage import CodeUsage
from mimgen.tokenizers.vqkd.model import VqKd
from mimgen.training import Trainable
from mimgen.types import Batch, Losses


class FeatureReconstruction(Trainable):
    """Objective: loss = mean(1 - cos(decoded, teacher)) + mean (z_q - z)^2 (BEiT v2, equation 3).

    Args:
        tokenizer: what is trained.
        teacher: frozen; its vectors are as wide as the tokenizer's features and lie on its grid, for
            example a `FeatureTarget` around an encoder, or a `HogTarget` where none is on disk.
        usage_window: batches over which perplexity and active codes are counted.

    Raises:
        UserError: a teacher of another width or another patch.
    """

    def __init__(self, tokenizer: VqKd, teacher: Target, *, usage_window: int = 100) -> None:
        super().__init__()
        if teacher.dim != tokenizer.feature_dim or teacher.patch != tokenizer.downsample:
            raise UserError(
                f"the teacher gives {teacher.dim} numbers for patches of {teacher.patch} pixels, the tokenizer "
                f"decodes {tokenizer.feature_dim} for {tokenizer.downsample}: build it with "
                f"feature_dim={teacher.dim} and patch={teacher.patch}"
            )
        self.tokenizer, self.teacher = tokenizer, teacher
        self.usage = CodeUsage(tokenizer.codebook_size, usage_window)

    def forward(self, batch: Batch) -> Losses:
        """Terms "cosine" and, while training, "commitment"; metrics `similarity` and those of the usage."""
        goal: Tensor = self.teacher(batch.images)
        features, codes = self.tokenizer(batch.images)
        similarity = F.cosine_similarity(features.float(), goal, dim=-1).mean()
        if self.training:
            assert codes.indices is not None, "VQ-KD fills indices"
            self.usage.update(codes.indices)
        metrics = {"similarity": similarity.detach(), **self.usage.metrics()}
        return Losses({"cosine": 1 - similarity, **codes.losses}, metrics=metrics)
