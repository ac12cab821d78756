"""The feature pyramid that iTPN trains together with its backbone: from patches back to finer units."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.hivit import UnitBlock, UnitSplit


class Neck(nn.Module):
    """Levels of one width at the strides 16, 8 and 4 of a patch of 16 pixels (iTPN, section 3).

    Every level but the first is the split of the one above plus a linear map of the backbone's units of its
    stride, then MLP blocks; each level ends in its own block. Patches never mix here.

    Args:
        width: D of the backbone's patches; its units have D / 2 and D / 4.
        output: F, width of all levels.
        depth: MLP blocks after each split.
        levels: 2 or 3.
        mlp_ratio: hidden width of the MLPs over F.
        eps: of the layer norms.

    Raises:
        UserError: another number of levels.
    """

    def __init__(
        self,
        width: int = 512,
        output: int = 256,
        depth: int = 2,
        levels: int = 3,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if levels not in (2, 3):
            raise UserError(f"a pyramid of {levels} levels: choose 2 or 3, or neck_width=0 for none")

        def block() -> UnitBlock:
            return UnitBlock(output, mlp_ratio=mlp_ratio, eps=eps)

        steps = range(levels - 1)
        self.top = nn.Linear(width, output) if width != output else nn.Identity()
        self.splits = nn.ModuleList(UnitSplit(output if step else width, output, eps) for step in steps)
        self.laterals = nn.ModuleList(nn.Linear(width // 2 ** (step + 1), output, bias=False) for step in steps)
        self.mixers = nn.ModuleList(nn.Sequential(*(block() for _ in range(depth))) for _ in steps)
        self.outputs = nn.ModuleList(block() for _ in range(levels))

    def forward(self, top: Tensor, finer: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The levels, from coarse to fine.

        Args:
            top: patches [B, K, 1, 1, D].
            finer: the backbone's units [B, K, 4, 4, D / 4] and [B, K, 2, 2, D / 2].

        Returns:
            [B, K, s, s, F] for s = 1, 2 and, with three levels, 4.
        """
        found = [self.outputs[0](self.top(top))]  # [B, K, 1, 1, F]
        x = top
        for step, units in enumerate(list(reversed(finer))[: len(self.splits)]):
            # the first split reads the patches as they are, not what `top` made of them
            x = self.mixers[step](self.splits[step](x) + self.laterals[step](units))
            found.append(self.outputs[step + 1](x))
        return tuple(found)
