"""AttMask: iBOT with the teacher's attention choosing what to mask (arXiv 2203.12719).

Masked: the patches of a large crop that the class token of the teacher attends to most (or least), and nothing of
half of the crops. In their place, looks, targets, loss: as in iBOT. The teacher looks first, at the same crop.
"""

from __future__ import annotations

from torch import Tensor

from mimgen.methods.attmask.masking import class_attention
from mimgen.methods.ibot.objective import IBOT, IBOTOutput, crop_rng
from mimgen.types import Mask, SampleRNG


class AttMask(IBOT):
    """Objective: iBOT, with a masking that takes a guide, such as `AttentionMasking` (AttMask, section 3.2).

    The guide is the class token's attention in the teacher's last block, averaged over heads. Arguments are those of
    `IBOT`.
    """

    asks_attention = True

    def mask(self, large: Tensor, teacher_output: IBOTOutput, rng: SampleRNG) -> Mask:
        """The mask of G B large crops [G, B, 3, S, S], in the order of `teach`."""
        assert teacher_output.attention is not None, "asked for"
        guide = class_attention(teacher_output.attention)
        return self.masking(self._grid(large), crop_rng(rng, len(large)), guide)
