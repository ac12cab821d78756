"""What a training step costs: floating-point operations, counted, so that budgets do not depend on a machine's load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from mimgen.data import Dataset, Subset, with_codes
from mimgen.recipes import TrainGenerator
from mimgen.recipes.data_config import loader

__all__ = ["operations"]

COUNTED = 8  # images of the batch on which is counted


def operations(run: Any) -> float:
    """Operations of a training step for one image, forward and backward, those of frozen networks included.

    Matrix products, convolutions and attention are counted, as torch's counter does; the rest is little.

    Args:
        run: of a config that is trained, with data that can be read in any order.
    """
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(0)
    data = Subset(cast(Dataset, run.data_config.open()), tuple(range(COUNTED)))
    objective: nn.Module
    shown: Dataset = data
    if isinstance(run, TrainGenerator):
        from mimgen.recipes.tokenizers import tokenize
        from mimgen.tokenizers.open import load_tokenizer

        tokenizer = load_tokenizer(cast(str, run.tokenizer))
        objective, shown = run.build(tokenizer), with_codes(data, tokenize(data, tokenizer))
    else:
        objective = run.build()
    batch = next(loader(shown, replace(run.settings, batch_size=COUNTED)).stream(0))[0]
    with FlopCounterMode(display=False) as counter:
        objective.train()(batch).total.backward()
    return float(counter.get_total_flops()) / COUNTED
