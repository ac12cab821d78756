"""What stands for an encoder in the key of a cache or in a result: a digest of weights and settings."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from mimgen.data.cache.codes import weights_hash
from mimgen.data.sources.listing import digest
from mimgen.pretrained import PretrainedModule


def digest_of(encoder: Any, *facts: object) -> str:
    """16 hexadecimal digits that differ where an encoder computes something else.

    Weights alone would not do: twice as many heads, or another mean taken off the images, leave them equal.

    Args:
        encoder: a module, or a function without weights.
        facts: settings that neither weights, buffers nor the arguments of parts show.
    """
    words: list[object] = [type(encoder).__name__, *facts]
    if isinstance(encoder, nn.Module):
        words.append(weights_hash(encoder))
        kept = set(encoder.state_dict())
        # buffers that are not saved, such as the mean of the channels
        words += [(name, value.tolist()) for name, value in sorted(_buffers(encoder).items()) if name not in kept]
        words += [
            (name, json.dumps(part.config, sort_keys=True, default=str))
            for name, part in encoder.named_modules()
            if isinstance(part, PretrainedModule)
        ]
    return digest(words)


def _buffers(encoder: nn.Module) -> dict[str, Any]:
    return {name: value.detach().cpu() for name, value in encoder.named_buffers() if value is not None}
