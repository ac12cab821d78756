"""Replays of valeoai/Halton-MaskGIT: both samplers with the class-conditional transformer.

The loop is `mimgen.sampling.unmask`, with the arguments that make it the released one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.generators.class_sampling import ClassPredictor
from mimgen.generators.maskgit.adapter import ADAPTER
from mimgen.generators.maskgit.model import ClassTransformer
from mimgen.pretrained import load_strictly
from mimgen.sampling.guidance import Guidance, combine
from mimgen.sampling.orders import halton_cells
from mimgen.sampling.sampler import Sampled, unmask
from mimgen.sampling.schedules import Arccos, Cosine, CountSchedule, Linear, Power, Schedule
from mimgen.sampling.temperatures import Ramp, Sharpening
from mimgen.sampling.token_sampler import TokenSampler
from tests.parity.cases import Case, Replay
from tests.parity.helpers import RELEASED_POINTS
from tests.parity.recorded import FixedRNG, RecordedOrder

SCHEDULES: Mapping[str, Schedule] = {
    "root": Power(0.5),
    "linear": Linear(),
    "square": Power(2.0),
    "cosine": Cosine(),
    "arccos": Arccos(),
}


class _Run:
    """The model of a case, and the tokens that it was shown in each step.

    Args:
        case: with labels [B] among the inputs.
        guidance: of the sampler.
        sharpening: factor on the logits.
        top_k: sample among the k likeliest tokens only.
    """

    def __init__(
        self, case: Case, guidance: Guidance, sharpening: Sharpening, top_k: int | None = None
    ) -> None:
        self.model = model_of(case)
        self.predict = ClassPredictor(self.model, case.inputs["labels"])
        self.labels, self.uniform = case.inputs["labels"], case.inputs["categorical_uniform"]
        self.guidance, self.sharpening, self.top_k = guidance, sharpening, top_k
        self.steps, self.side = len(self.uniform), self.model.side
        self.shown = [torch.full((len(self.labels), self.side**2), self.model.mask_id)]

    def sample(self, choice: Tensor | None = None, **options: Any) -> Sampled:
        """Run the sampler on the recorded numbers; `options` are further arguments of `unmask`."""
        return unmask(
            self.predict,
            self.shown[0],
            mask_id=self.model.mask_id,
            steps=self.steps,
            rng=FixedRNG(self.uniform, choice),
            grid=(self.side, self.side),
            logit_temperature=self.sharpening,
            top_k=self.top_k,
            guidance=self.guidance,
            mask_logit=True,
            on_step=lambda step, tokens: self.shown.append(tokens),
            **options,
        )

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        """[B, N, K + 1], or [2 B, N, K + 1] with the unconditional half behind where there is guidance."""
        everywhere = torch.arange(tokens.shape[1]).expand(tokens.shape)
        answer = self.predict(tokens, everywhere, 0, self.guidance.scale != 1)
        return answer if isinstance(answer, Tensor) else torch.cat(answer)

    def outputs(self) -> dict[str, Tensor]:
        """Logits of the first and the last step, the codes sampled in each, and the tokens at the end."""
        logits = [self.logits(tokens) for tokens in self.shown[: self.steps]]
        return {
            "model_logits_first": logits[0],
            "model_logits_last": logits[-1],
            "predicted_codes": self.maps([self._sampled(step, each) for step, each in enumerate(logits)]),
            "final_codes": self.maps([self.shown[-1].clamp(max=self.model.codebook_size - 1)])[0],
        }

    def _sampled(self, step: int, logits: Tensor) -> Tensor:
        halves = logits.split(len(self.labels))
        weight = self.guidance.weight(step, self.steps)
        guided = combine(halves[0], halves[-1], weight) / self.sharpening.at(step, self.steps)
        return TokenSampler().tokens(guided, self.uniform[step], top_k=self.top_k).tokens

    def maps(self, flat: list[Tensor]) -> Tensor:
        """S tensors [B, N] as one [S, B, h, w]."""
        return torch.stack(flat).unflatten(2, (self.side, self.side))


def model_of(case: Case) -> ClassTransformer:
    """The transformer of a case, in evaluation mode."""
    config = case.config["model"]
    if config.get("proj", 1) != 1:
        raise UserError(f"proj={config['proj']}: the official code runs with proj 1 only")
    model = ClassTransformer(
        side=config.get("input_size", 16),
        codebook_size=config.get("codebook_size", 1024),
        classes=config.get("nclass", 1000),
        width=config.get("hidden_dim", 768),
        depth=config.get("depth", 24),
        heads=config.get("heads", 8),
        hidden=config.get("mlp_dim", 3072),
        registers=config.get("register", 1),
        dropout=0.0,
        mask_logit=True,
    )
    tensors = {ours: value for key, value in case.weights.items() if (ours := ADAPTER.our_key(key)) and value.numel()}
    load_strictly(model, tensors, "the case")
    return model.eval()


def replay_halton(case: Case) -> dict[str, Tensor]:
    """The Halton sampler: logits, codes of every step, what each step reveals, and the order."""
    config = case.config["sampler"]
    # the official w is the weight of c - u on top of c
    guidance = Guidance(1 + config.get("w", 2))
    sharpening = Sharpening(
        config.get("sm_temp_min", 1.0),
        config.get("sm_temp_max", 1.0),
        config.get("temp_pow", 1),
        config.get("temp_warmup", 0),
    )
    top_k = config.get("top_k", -1)
    run = _Run(case, guidance, sharpening, top_k if top_k > 0 else None)
    cells = halton_cells((run.side, run.side), points=RELEASED_POINTS)
    ranks = cells.argsort().expand(len(run.labels), -1)
    if "roll" in case.inputs:
        ranks = (ranks + case.inputs["roll"][:, None]) % ranks.shape[1]
    sampled = run.sample(order=RecordedOrder(ranks), schedule=CountSchedule(Arccos()))
    return {
        **run.outputs(),
        "revealed_mask": run.maps([sampled.unmasked_at == step for step in range(run.steps)]).float(),
        "halton_order": torch.stack([cells // run.side, cells % run.side], dim=1),
    }


def replay_confidence(case: Case) -> dict[str, Tensor]:
    """The confidence sampler: logits, codes of every step, what is masked after each, and the schedule."""
    config = case.config["sampler"]
    randomize, heatmap = config.get("randomize", "linear"), config.get("r_temp", 4.5)
    if randomize not in ("linear", "no"):
        raise UserError(f"randomize={randomize!r}: known are 'linear' and 'no'")
    factor = config.get("sm_temp", 1.0)
    run = _Run(case, Guidance(1 + config.get("w", 3), rule="ramp"), Sharpening(factor, factor))
    schedule = CountSchedule(SCHEDULES[config.get("sched_mode", "arccos")], from_start=True)
    run.sample(
        case.inputs.get("gumbel_uniform"),
        schedule=schedule,
        choice_temperature=Ramp(heatmap if randomize == "linear" else 0.0, 0.0),
        resample=True,
    )
    count = torch.tensor(run.side**2)
    masked = [tokens == run.model.mask_id for tokens in run.shown[1:]]
    return {
        **run.outputs(),
        "schedule": torch.stack([schedule.scheduled(step, run.steps, count) for step in range(run.steps)]),
        "still_masked": run.maps(masked).float(),
    }


REPLAYS: dict[str, Replay] = {"halton_maskgit": replay_halton, "maskgit_confidence": replay_confidence}
