"""DMJD's head on visible tokens: a projector and a linear predictor, token by token."""

from __future__ import annotations

from torch import Tensor, nn

from mimgen.layers.init import init_weights
from mimgen.pretrained import PretrainedModule
from mimgen.types import Tokens


class VisibleBranch(PretrainedModule):
    """Three linear layers with norms and GELU between, then the prediction (DMJD, section 3.3).

    Tokens do not look at each other here, so what is predicted must be in the encoder's tokens already.

    Args:
        encoder_width: width of the encoder's tokens.
        width: of the projector.
        output: numbers predicted for a patch.
        eps: of the layer norms.

    Attributes:
        dim: `output`.
    """

    def __init__(self, encoder_width: int = 768, width: int = 512, output: int = 108, eps: float = 1e-6) -> None:
        super().__init__()
        self.dim = output
        self.projector = nn.Sequential(
            nn.Linear(encoder_width, width),
            nn.LayerNorm(width, eps),
            nn.GELU(),
            nn.Linear(width, width),
            nn.LayerNorm(width, eps),
            nn.GELU(),
            nn.Linear(width, width),
            nn.LayerNorm(width, eps, elementwise_affine=False),
        )
        self.predictor = nn.Sequential(nn.Linear(width, output))
        init_weights(self)

    def forward(self, tokens: Tokens) -> Tensor:
        """Predictions [B, K, output] for the patches of the tokens."""
        return self.predictor(self.projector(tokens.patches))
