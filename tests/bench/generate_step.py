"""`python -m tests.bench generate-step`: a training step of Meissonic against the same model in diffusers' blocks.

Ours is `MaskedTokens` as the configs train it; theirs is put together from diffusers' public parts and trained as the
released script does: logits of all tokens, cross-entropy with the visible ones ignored. Equal are parameters, masks,
text states, batch, optimiser and precision. "agree" says that with the same weights both have the same loss and the
same gradients. The same batch is taken in every step; its rows mask shares spread evenly over the cosine schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.cli.options import parse
from mimgen.encoders import TextStates
from mimgen.errors import UserError, choose
from mimgen.generators.meissonic.objective import MaskedTokens
from mimgen.masking import with_mask_token
from mimgen.report.tables import markdown
from mimgen.training.optim import build_optimizer
from mimgen.types import Mask
from tests.bench.generate_peers import BLOCKS, DiffusersMeissonic, absent
from tests.bench.generate_shapes import SHAPES, Shape, encode, transformer
from tests.bench.measure import device_and_precision
from tests.bench.peak_memory import step_memory
from tests.bench.pretrain_steps import Setting
from tests.bench.tokenizer import fastest

__all__ = ["KINDS", "StepInputs", "agreement", "bench", "bench_shape", "main", "report", "timed_step"]

OURS = "mimgen"
KINDS = (OURS, BLOCKS)
MIB = 2**20
RATE, BETAS, DECAY = 1e-4, (0.9, 0.999), 0.01
_IGNORED = -100
_LOSS, _GRADIENT = 1e-5, 1e-3  # relative differences of float32 that rounding explains


@dataclass(frozen=True)
class Options:
    """Time a training step of Meissonic against the same model written with diffusers' attention blocks.

    Attributes:
        sizes: one or several with commas: small (1024 tokens of 8192 codes, width 384, 12 blocks), small-compressed,
            1b (the paper's), tiny, tiny-compressed.
        batch: images per step; by default the size's own (4).
        repeats: steps of each; the fastest counts.
        device: auto takes a GPU where there is one.
        precision: auto is bf16 (autocast) on a GPU and fp32 elsewhere.
        seed: of weights, tokens and masks.
        out: also write the result to this JSON file, and a page beside it.
    """

    sizes: str = "small"
    batch: int | None = None
    repeats: int = 3
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0
    out: Path | None = None


@dataclass(frozen=True)
class StepInputs:
    """A batch with everything generated: ids [B, h, w], what is masked, rates [B], text, micro-conditions [B, 5]."""

    tokens: Tensor
    mask: Mask
    rates: Tensor
    text: TextStates
    sizes: Tensor

    @classmethod
    def of(cls, shape: Shape, setting: Setting) -> StepInputs:
        """A batch of that shape."""
        generator, count = torch.Generator().manual_seed(setting.seed), setting.batch
        tokens = torch.randint(0, shape.codes, (count, *shape.grid), generator=generator)
        # evenly spread, so that the batch masks as much as batches do on average
        rates = torch.cos((torch.arange(count) + 0.5) / count * math.pi / 2)
        ranks = torch.rand(count, shape.tokens, generator=generator).argsort(1).argsort(1)
        masked = ranks < (rates * shape.tokens).round().clamp(min=1)[:, None]
        text = encode(shape, [str(row) for row in range(count)])
        to, sizes = setting.device, torch.tensor(shape.sizes, dtype=torch.float32).expand(count, -1)
        states = TextStates(text.states.to(to), text.pooled.to(to))
        return cls(tokens.to(to), Mask(masked.to(to)), rates.to(to), states, sizes.to(to))


def main(arguments: list[str]) -> int:
    """Run `python -m tests.bench generate-step`; the exit status is 1 where losses or gradients disagree."""
    options = parse(Options, arguments, "python -m tests.bench generate-step")
    requested = {name: value for name, value in asdict(options).items() if name != "out"}
    measured = bench(**requested)
    print(report(measured))
    if options.out is not None:
        from mimgen.report.result import write_outcome

        protocol = {**requested, **{name: measured[name] for name in ("threads", "device", "precision")}}
        result = {"measure": "bench generate-step", "protocol": protocol, "scores": measured["sizes"]}
        write_outcome(options.out, result, title="Speed of training a generator")
        print(f"written to {options.out}")
    return 1 if any(size.get("agree") is False for size in measured["sizes"].values()) else 0


def bench(
    sizes: str = "small",
    batch: int | None = None,
    repeats: int = 3,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """All sizes; arguments as in `Options`.

    Returns:
        {"sizes": what `bench_shape` returns, by name; "threads", "device", "precision"}.

    Raises:
        UserError: an unknown size, a number that makes no sense, or a GPU asked for where there is none.
    """
    if repeats < 1 or (batch is not None and batch < 1):
        raise UserError(f"batch {batch} and repeats {repeats}: give at least 1 of each")
    device, precision = device_and_precision(device, precision)
    chosen = {name: SHAPES[choose(name, list(SHAPES), "size")] for name in sizes.split(",")}
    return {
        "sizes": {
            name: bench_shape(shape, Setting(batch or shape.batch, device, precision, seed), repeats)
            for name, shape in chosen.items()
        },
        "threads": torch.get_num_threads(),
        "device": device,
        "precision": precision,
    }


def bench_shape(shape: Shape, setting: Setting, repeats: int) -> dict[str, Any]:
    """One size; steps alternate, so that another load on the machine meets all.

    Memory is what a step takes at most on top of the weights: gradients, moments of AdamW, activations.

    Returns:
        {"parameters", "steps": {kind: {"seconds", "images_per_s", "peak_mib"}}} and, with diffusers, "speed" (ours
        over theirs), "memory" (ours over theirs) and "agree"; without it "missing", what must be installed.
    """
    missing = absent()
    kinds = (OURS,) if missing else KINDS
    seconds = dict(zip(kinds, fastest(repeats, *(timed_step(kind, shape, setting) for kind in kinds)), strict=True))
    steps = {
        kind: {
            "seconds": took,
            "images_per_s": setting.batch / took,
            "peak_mib": _peak_memory(kind, shape, setting) / MIB,
        }
        for kind, took in seconds.items()
    }
    parameters = sum(parameter.numel() for parameter in transformer(shape).parameters())
    measured = {"batch": setting.batch, "parameters": parameters, "steps": steps}
    if missing:
        return {**measured, "missing": missing}
    mine, theirs = steps[OURS], steps[BLOCKS]
    return {
        **measured,
        "speed": mine["images_per_s"] / theirs["images_per_s"],
        "memory": mine["peak_mib"] / theirs["peak_mib"],
        "agree": agreement(shape, setting.seed),
    }


def timed_step(kind: str, shape: Shape, setting: Setting) -> Callable[[], float]:
    """A training step of "mimgen" or of the peer, which returns the loss; it has been run once, which allocates."""
    step = _cold_step(kind, shape, setting)
    step()
    return step


def _cold_step(kind: str, shape: Shape, setting: Setting) -> Callable[[], float]:
    module, loss = _parts(kind, shape, setting)
    module.to(setting.device).train()
    optimizer = build_optimizer(module, lr=RATE, betas=BETAS, weight_decay=DECAY)
    inputs = StepInputs.of(shape, setting)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with setting.cast():
            value = loss(inputs)
        value.backward()
        optimizer.step()
        return float(value.detach())  # waits for a GPU

    return step


def _parts(kind: str, shape: Shape, setting: Setting) -> tuple[nn.Module, Callable[[StepInputs], Tensor]]:
    """The model of a kind, all with the same weights, and its loss of a batch."""
    model = transformer(shape, setting.seed)
    if kind == OURS:
        # neither text encoder nor tokenizer is asked: states and ids are given
        objective = MaskedTokens(model, nn.Identity(), nn.Identity())
        return model, lambda inputs: objective.losses(**vars(inputs)).total
    theirs = DiffusersMeissonic(shape)
    theirs.load_weights(model)
    return theirs, lambda inputs: _released_loss(theirs, shape, inputs)


def _released_loss(model: nn.Module, shape: Shape, inputs: StepInputs) -> Tensor:
    """Mean cross-entropy of the masked tokens, from logits of all."""
    ids = inputs.tokens.flatten(1)
    shown = with_mask_token(ids, inputs.mask, shape.mask_id).view_as(inputs.tokens)
    logits = model(shown, inputs.text.states, inputs.text.pooled, inputs.rates, inputs.sizes)
    labels = ids.masked_fill(~inputs.mask.masked, _IGNORED)
    return F.cross_entropy(logits.flatten(2), labels, ignore_index=_IGNORED)


def _peak_memory(kind: str, shape: Shape, setting: Setting) -> int:
    """Bytes that one step takes on top of the weights and the batch."""
    return step_memory(setting.device, _memory_step, _cold_step, (kind, shape, setting))


def _memory_step(kind: str, shape: Shape, setting: Setting) -> Callable[[], float]:
    """Everything set up, and run once at the smallest shape; what is returned makes the step to measure."""
    timed_step(kind, SHAPES["tiny"], Setting(1))
    return _cold_step(kind, shape, setting)


def agreement(shape: Shape, seed: int = 0) -> bool:
    """Whether ours and diffusers' have the same loss and gradients with the same weights and the same batch."""
    setting = Setting(2, seed=seed)
    inputs, found = StepInputs.of(shape, setting), []
    for kind in KINDS:
        module, loss = _parts(kind, shape, setting)
        value = loss(inputs)
        value.backward()
        gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
        found.append((float(value.detach()), gradients))
    (mine, ours), (other, theirs) = found
    # a layer that diffusers keeps under two names is listed under one of them
    shared = [name for name in ours if name in theirs]
    near = all(_near(ours[name], theirs[name]) for name in shared)
    return abs(mine - other) <= _LOSS * abs(other) and near and len(shared) >= len(ours) - 1


def _near(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return float((a - b).norm()) <= _GRADIENT * float(b.norm()) + 1e-12


def report(measured: dict[str, Any]) -> str:
    """The measurements of `bench` as text."""
    how = ", ".join(measured[name] for name in ("device", "precision"))
    lines = [f"training step, {how}, {measured['threads']} threads; MiB that a step takes on top of the weights"]
    for name, size in measured["sizes"].items():
        lines.append(f"\n{name}: {size['parameters'] / 1e6:.1f} million parameters, batch {size['batch']}\n")
        rows = [
            (kind, f"{row['seconds']:.3f}", f"{row['images_per_s']:.2f}", f"{row['peak_mib']:,.0f}")
            for kind, row in size["steps"].items()
        ]
        lines.append(markdown(("step", "seconds", "images/s", "MiB"), rows))
        if "missing" in size:
            lines.append(f"\nno comparison: pip install '{size['missing']}'")
            continue
        same = "the same" if size["agree"] else "DIFFERENT, please report this:"
        lines.append(
            f"\n{size['speed']:.2f} times as fast as with diffusers' blocks, {size['memory']:.2f} times the memory; "
            f"with equal weights {same} loss and gradients"
        )
    return "\n".join(lines)
