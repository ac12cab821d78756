"""What pipelines, recipes and the command line ask of any generator, and what every training of one shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mimgen.encoders import TextStates
from mimgen.generators.meissonic.speed import EXACT, Speed
from mimgen.sampling.sampler import Predict
from mimgen.training import Trainable
from mimgen.types import Batch

__all__ = ["Conditioning", "Generator", "GeneratorObjective", "Prediction", "TextCondition"]

Conditioning = Literal["text", "class", "none"]
Prediction = Literal["masked_tokens"]  # driven by `mimgen.sampling.unmask`


@dataclass(frozen=True)
class TextCondition:
    """What B images of a text-conditional generator are conditioned on, and how their run is set.

    Attributes:
        text: states [B, T, D] and pooled [B, P] of the captions.
        negative: the same of what the unconditional branch of the guidance reads.
        sizes: micro-conditions: width, height, crop left, crop top, score.
        steps: of the whole run.
        timestep_mode: what the model is told of the progress: "rate", the share still masked; "steps", the
            number of steps left behind this one, as the release of Meissonic samples.
        speed: what is saved.
    """

    text: TextStates
    negative: TextStates
    sizes: tuple[float, float, float, float, float]
    steps: int
    timestep_mode: Literal["rate", "steps"] = "rate"
    speed: Speed = EXACT


@runtime_checkable
class Generator(Protocol):
    """A network that generates the token ids of images.

    It is a `PretrainedModule`: saved with `save_pretrained`, found again by `load_pretrained`.

    Attributes:
        conditioning: on what: "text" (a `TextCondition`), "class" (labels [B] int64) or "none" (None).
        prediction: what a step predicts, which decides the sampler: "masked_tokens" are logits of masked ids.
        codebook_size: number of codes K.
        mask_id: the id of a masked token; no code.
    """

    conditioning: Conditioning
    prediction: Prediction
    codebook_size: int
    mask_id: int

    def predictor(self, condition: Any, grid: tuple[int, int]) -> Predict:
        """The sampler's `predict` for one run.

        Args:
            condition: of the B images, see `conditioning`.
            grid: rows and columns of tokens.
        """
        ...

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Refuse a grid of tokens that the generator cannot fill; warn of one that it was not trained on.

        Raises:
            UserError: the generator was built for another grid.
        """
        ...

    def recomputable_blocks(self) -> Sequence[nn.Module]:
        """Blocks whose activations may be computed again in the backward pass instead of being kept."""
        ...


class GeneratorObjective(Trainable):
    """Training of a generator on the ids of a frozen tokenizer.

    Args:
        transformer: the `Generator`.
        tokenizer: frozen; unused where the batch carries cached codes.
    """

    # nn.Module types its members as Tensor | Module; these are read through their contracts
    transformer: Any
    tokenizer: Any

    def __init__(self, transformer: nn.Module, tokenizer: nn.Module) -> None:
        super().__init__()
        self.transformer, self.tokenizer = transformer, tokenizer.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> GeneratorObjective:
        """As usual, but the tokenizer stays in evaluation mode."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def parts(self) -> dict[str, Any]:
        """What a pipeline is made of, by the names of its arguments."""
        return {"transformer": self.transformer, "vqvae": self.tokenizer}

    def tokens(self, batch: Batch) -> Tensor:
        """[B, h, w] ids: the cached ones, or those of the tokenizer."""
        if batch.codes is not None:
            return batch.codes
        with torch.no_grad():
            ids: Tensor = self.tokenizer.encode(batch.images).indices
        return ids
