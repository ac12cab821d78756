"""Classes to images, and images of nothing in particular."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mimgen.data import Sample
from mimgen.errors import UserError, did_you_mean
from mimgen.generators import Generator
from mimgen.pipelines.base import Pipeline
from mimgen.pipelines.memory import UNBOUNDED, Memory
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.prompts import PromptBatch, Request
from mimgen.tokenizers import Tokenizer

__all__ = ["ClassToImagePipeline", "UnconditionalPipeline"]


class ClassToImagePipeline(Pipeline):
    """Class to image.

    Args:
        transformer: a generator conditioned on classes; `dropped` is the label that stands for none.
        vqvae: any tokenizer of the contract.
        preset: how to sample.
        classes: their names, in the order of their numbers; empty where they have none.
        label: the label set of the training data that they are of.
        memory: as for every pipeline.

    Raises:
        UserError: as many names as the generator has no classes.
    """

    conditioning = "class"
    saved_as = "ClassToImagePipeline"

    def __init__(
        self,
        transformer: Generator,
        vqvae: Tokenizer,
        preset: Preset,
        classes: Sequence[str] = (),
        label: str = "class",
        memory: Memory = UNBOUNDED,
    ) -> None:
        super().__init__(transformer, vqvae, preset, memory)
        self.classes, self.label = tuple(classes), label
        if self.classes and len(self.classes) != self.count:
            raise UserError(f"{len(self.classes)} names for {self.count} classes: give one each, or none")

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.transformer.dropped)

    @classmethod
    def _saved_options(cls, index: Mapping[str, Any]) -> dict[str, Any]:
        return {"classes": index.get("classes", ()), "label": index.get("label", "class")}

    def _options(self) -> dict[str, Any]:
        return {"classes": self.classes, "label": self.label}

    def requests(self, requests: Sequence[Request]) -> list[Any]:
        """Numbers of classes, from numbers or names.

        Raises:
            UserError: a caption, a class that does not exist, or none.
        """
        return [self._number(each) for each in requests]

    def condition(self, wanted: PromptBatch, preset: Preset) -> Tensor:
        """[B] int64 labels."""
        return torch.tensor(wanted.prompts, dtype=torch.int64, device=self.transformer.device)

    def request_of(self, sample: Sample) -> int:
        """The number of its class.

        Raises:
            UserError: the image has none.
        """
        if self.label not in sample.labels:
            known = ", ".join(sample.labels) or "none"
            raise UserError(f'this model was trained on the labels "{self.label}", and the data have {known}')
        return int(sample.labels[self.label])

    def _number(self, request: Request) -> int:
        if isinstance(request, str):
            if request in self.classes:
                return self.classes.index(request)
            if not request.strip().isdecimal():
                hint = did_you_mean(request, self.classes) if self.classes else ", for its classes have no names"
                raise UserError(f"class {request!r} does not exist: give a number from 0 to {self.count - 1}{hint}")
            request = int(request)
        try:
            number = operator.index(request)  # type: ignore[arg-type]
        except TypeError:
            raise UserError(
                f"this model generates classes: give a number from 0 to {self.count - 1}, or a name"
            ) from None
        if not 0 <= number < self.count:
            raise UserError(f"class {number} does not exist: give a number from 0 to {self.count - 1}")
        return number


class UnconditionalPipeline(Pipeline):
    """Images as those of the training data; a request is None, one for each image."""

    conditioning = "none"
    saved_as = "UnconditionalPipeline"

    def requests(self, requests: Sequence[Request]) -> list[Any]:
        """As many None as images.

        Raises:
            UserError: a caption or a class.
        """
        for each in requests:
            if each is not None:
                raise UserError(f"this model is unconditional: leave out the prompt or class ({each!r})")
        return list(requests)

    def condition(self, wanted: PromptBatch, preset: Preset) -> None:
        """Nothing."""

    def request_of(self, sample: Sample) -> None:
        """Nothing."""
