"""Many copies of one head trained at once, each with its own learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from mimgen.errors import UserError
from mimgen.layers.attention import attention_backend

Optimiser = Literal["adam", "lars"]
_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8
_MOMENTUM, _TRUST = 0.9, 1e-3


class HeadStack:
    """K copies of a head with stacked parameters; they see the same batches and differ in their settings alone.

    Args:
        head: tokens to logits; every copy starts with its weights and statistics.
        rates: K learning rates.
        decays: K weight decays, of tensors with at least two dimensions.
        optimiser: "adam" (AdamW, arXiv 1711.05101), or "lars" (arXiv 1708.03888, equation 6) with momentum 0.9
            and trust 0.001, where tensors with fewer than two dimensions are neither scaled nor decayed.

    Raises:
        UserError: no settings, a rate that is not positive, or an unknown optimiser.
    """

    def __init__(
        self, head: nn.Module, rates: Sequence[float], decays: Sequence[float], optimiser: Optimiser = "adam"
    ) -> None:
        if not rates or len(rates) != len(decays) or min(rates) <= 0 or min(decays) < 0:
            raise UserError(f"rates {list(rates)} must be positive, decays {list(decays)} as many and not negative")
        if optimiser not in get_args(Optimiser):
            raise UserError(f"optimiser {optimiser!r} is unknown; choose from {', '.join(get_args(Optimiser))}")
        self.head, self.optimiser = head, optimiser
        device = next(head.parameters()).device
        self.rates, self.decays = torch.tensor(rates, device=device), torch.tensor(decays, device=device)
        self.parameters, self.buffers = stack_module_state([head] * len(rates))
        self._first = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self._second = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self._steps = 0

    def logits(self, tokens: Tensor) -> Tensor:
        """[K, B, C] of tokens [B, N, D], in the mode that the head is in."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            return functional_call(self.head, (parameters, buffers), (tokens,))

        # the fused kernels have no batching rule: the copies would be computed one after the other
        with attention_backend("math"):
            return vmap(one)(self.parameters, self.buffers)

    def step(self, tokens: Tensor, classes: Tensor, scale: float = 1.0) -> Tensor:
        """One step on tokens [B, N, D] with classes [B].

        Args:
            tokens: what the heads read.
            classes: int64 columns of the logits.
            scale: factor of all learning rates, for schedules.

        Returns:
            [K] cross entropies before the step.
        """
        self.head.train()
        logits = self.logits(tokens)
        losses = F.cross_entropy(logits.movedim(0, -1), classes[:, None].expand(-1, len(logits)), reduction="none")
        losses = losses.mean(0)
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        self._steps += 1
        for name, gradient in zip(self.parameters, gradients, strict=True):
            self._move(name, gradient, scale)
        return losses.detach()

    @torch.no_grad()
    def predict(self, tokens: Tensor) -> Tensor:
        """[K, B] columns of the largest logits, in evaluation mode."""
        self.head.eval()
        return self.logits(tokens).argmax(-1)

    def copy_into(self, member: int, head: nn.Module) -> None:
        """Give `head` the parameters and statistics of one copy."""
        state = {**self.parameters, **self.buffers}
        head.load_state_dict({name: value[member].detach() for name, value in state.items()})

    @torch.no_grad()
    def _move(self, name: str, gradient: Tensor, scale: float) -> None:
        weights = self.parameters[name]
        lengthwise = (-1,) + (1,) * (weights.ndim - 1)
        rate = (scale * self.rates).view(lengthwise)
        decay = self.decays.view(lengthwise) * float(weights.ndim > 2)
        if self.optimiser == "lars":
            update = gradient + decay * weights
            if weights.ndim > 2:
                update = update * _trust(weights, update).view(lengthwise)
            weights.sub_(rate * self._first[name].mul_(_MOMENTUM).add_(update))
            return
        first = self._first[name].lerp_(gradient, 1 - _BETAS[0])
        second = self._second[name].lerp_(gradient.square(), 1 - _BETAS[1])
        mean, square = first / (1 - _BETAS[0] ** self._steps), second / (1 - _BETAS[1] ** self._steps)
        weights.sub_(rate * (mean / (square.sqrt() + _ADAM_EPS) + decay * weights))


def _trust(weights: Tensor, update: Tensor) -> Tensor:
    """[K] factors trust |w| / |u|, 1 where either length is 0."""
    lengths, sizes = weights.flatten(1).norm(dim=1), update.flatten(1).norm(dim=1)
    return torch.where((lengths > 0) & (sizes > 0), _TRUST * lengths / sizes, torch.ones_like(lengths))
