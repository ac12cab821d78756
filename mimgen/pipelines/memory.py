"""Generating with little memory: number formats, quantised weights, parts that rest on the CPU, decoding in slices.

Roughly, for the released size (1 billion weights, 1024 px): 2 GB of transformer in bfloat16 and half of it in int8,
0.7 GB of text encoder, 0.3 GB of tokenizer; each image then takes 0.7 GB while tokens are generated (logits over 8192
codes in float32) and 2 GB while it is decoded. The settings of `memory_preset` are reckoned from these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mimgen.errors import UserError

Weights = Literal["int8", "fp8"]
DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Memory:
    """Settings that bound the memory of a pipeline.

    Attributes:
        dtype: number format of all parts: "float32", "bfloat16" or "float16"; None leaves them as they are.
        weights: "int8" or "fp8" for the linear layers of the transformer, through torchao; None leaves them.
        offload: the text encoder rests on the CPU and visits the transformer's device only while it encodes.
        decode_slice: images decoded at a time; None for all of a batch.
        batch_size: most images generated at a time; None for as many as a call says.
    """

    dtype: str | None = None
    weights: Weights | None = None
    offload: bool = False
    decode_slice: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r}: use one of {', '.join(DTYPES)}")
        for name in ("decode_slice", "batch_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name}={value}: give at least one image")

    def batch(self, requested: int) -> int:
        """Images generated at a time where a call asks for so many."""
        return requested if self.batch_size is None else min(requested, self.batch_size)

    @classmethod
    def of(cls, memory: int | float | Memory | None) -> Memory:
        """Settings as they are, or those of `memory_preset` for a number of gigabytes; no bounds for None."""
        if memory is None:
            return UNBOUNDED
        return memory if isinstance(memory, Memory) else memory_preset(memory)


UNBOUNDED = Memory()
PRESETS: Mapping[int, Memory] = {
    8: Memory("bfloat16", "int8", offload=True, decode_slice=1, batch_size=2),
    12: Memory("bfloat16", offload=True, decode_slice=1, batch_size=4),
    24: Memory("bfloat16", decode_slice=4, batch_size=8),
    80: Memory("bfloat16", decode_slice=16, batch_size=32),
}


def memory_preset(gigabytes: float) -> Memory:
    """Settings for a card of so many gigabytes: those of the largest size in `PRESETS` that it reaches.

    Raises:
        UserError: less than the smallest.
    """
    fitting = [size for size in PRESETS if size <= gigabytes]
    if not fitting:
        raise UserError(f"memory={gigabytes}: there are settings from {min(PRESETS)} GB on; pass a Memory of your own")
    return PRESETS[max(fitting)]


def apply_memory(transformer: nn.Module, others: tuple[Any, ...], memory: Memory) -> None:
    """Number format of all parts and weights of the transformer, changed in place."""
    if memory.dtype is not None:
        for part in (transformer, *others):
            part.to(DTYPES[memory.dtype])
    if memory.weights is not None:
        quantize_weights(transformer, memory.weights)


def quantize_weights(part: nn.Module, weights: Weights) -> None:
    """Store the weights of all linear layers in 8 bits, in place; they are widened when they are used.

    One scale an output channel. The part can be run, but neither trained nor saved any more.

    Args:
        part: a transformer.
        weights: "int8", or "fp8" (e4m3), which GPUs before Hopper and Ada only store.

    Raises:
        UserError: another word, or torchao is absent or does not fit the installed PyTorch.
    """
    if weights not in get_args(Weights):
        raise UserError(f'weights {weights!r}: use "int8" or "fp8"')
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{weights} weights need torchao ({error}): pip install 'mimgen[quantized]', or leave weights out"
        ) from error
    quantize_(part, Int8WeightOnlyConfig() if weights == "int8" else Float8WeightOnlyConfig())


def move_parts(parts: tuple[Any, ...], text_encoder: Any, memory: Memory, *where: Any, **named: Any) -> None:
    """Move the parts of a pipeline in place; a text encoder that visits only stays on the CPU.

    Args:
        parts: transformer and tokenizer.
        text_encoder: of the same pipeline; None where it has none.
        memory: whether the text encoder is one that visits (`offload`).
        where: device, number format or both, as for `torch.nn.Module.to`.
        named: the same by name.
    """
    for part in parts:
        part.to(*where, **named)
    if text_encoder is None:
        return
    if not memory.offload:
        text_encoder.to(*where, **named)
        return
    dtypes = [each for each in (*where, *named.values()) if isinstance(each, torch.dtype)]
    text_encoder.to("cpu", *dtypes)


@contextmanager
def visiting(part: Any, device: torch.device, offload: bool) -> Iterator[None]:
    """Inside the block `part` is on `device`; behind it on the CPU again, if `offload`."""
    if not offload:
        yield
        return
    part.to(device)
    try:
        yield
    finally:
        part.to("cpu")


def decode_in_slices(decode: Callable[[Tensor], Tensor], tokens: Tensor, count: int | None) -> Tensor:
    """Decode ids [B, h, w] `count` images at a time, which bounds what the decoder needs; None takes all at once."""
    if count is None or count >= len(tokens):
        return decode(tokens)
    return torch.cat([decode(part) for part in tokens.split(count)])
