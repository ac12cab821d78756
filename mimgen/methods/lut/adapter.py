"""Official LUT checkpoints (naver-ai/lut): encoder alone, with decoder, or fine-tuned.

The folder that is written is one of a `VitEncoder`; where the release has MAE's decoder, too, it lies in the
subfolder `decoder`.
"""

from __future__ import annotations

from mimgen.checkpoints.adapter import StateDictAdapter
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.mae import adapter as mae

ADAPTER = StateDictAdapter(
    name="lut",
    about="learning with unmasked tokens, pretrained or fine-tuned (Kim et al., 2024; github.com/naver-ai/lut)",
    kind=VitEncoder,
    parts={"decoder": MaeDecoder},
    arguments=mae.arguments,
    keys=mae.KEYS,
    ignored={
        "teacher.*": "a moving average of the student",
        # the classifier of a fine-tuned model is a `head` as well, but has no layers inside
        "head.#.*": "of the context loss",
        "predictor.#.*": "of the context loss",
    },
    prefixes=("student.",),
)
