"""The training loop: batches in, checkpoints and a log out. It knows an objective as batch -> Losses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.training import checkpoint as store
from mimgen.training.ema import Ema
from mimgen.training.guard import Guard, find_non_finite, save_batch
from mimgen.training.guard import stop as stopped
from mimgen.training.log import Log, Meter, peak_memory_mib, trim
from mimgen.training.objective import Trainable
from mimgen.training.optim import set_decay
from mimgen.training.precision import Precision
from mimgen.training.processes import (
    agree_precision,
    check_division,
    gather_json,
    launched_alone,
    start_accelerate,
    train_mode,
    wrap,
)
from mimgen.training.resume import check_same, identity, random_state, restore_random
from mimgen.training.schedule import learning_rate, weight_decay
from mimgen.training.settings import Batches, Result, Settings
from mimgen.training.shard import full_tensor
from mimgen.training.signals import Stop, stop_signals
from mimgen.training.step import Outcome, Stepper
from mimgen.types import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator

Images = Callable[[nn.Module, int], dict[str, Tensor]]


def fit(
    objective: Trainable,
    batches: Batches,
    settings: Settings,
    folder: Path,
    *,
    images: Images | None = None,
    record: Mapping[str, Any] | None = None,
) -> Result:
    """Train an objective, or continue with the run that `folder` already holds.

    N steps give the same weights, averages, optimiser state and log as k steps, a crash, and
    N - k more: bit for bit on a CPU.

    Args:
        objective: trained in place and moved to accelerate's device.
        batches: yields micro-batches as a pure function of the step.
        settings: see Settings.
        folder: the run folder, shared by all processes; rank 0 writes.
        images: called with the objective under averaged weights, in eval mode, and the step;
            returns named [n, 3, H, W] images in [0, 1]. Called on every rank.
        record: further facts that must not change within a run, for example the arguments.

    Returns:
        Result; the objective holds the live weights (for the average see `load_ema`).

    Raises:
        UserError: other settings than the run in `folder`, a batch size that does not divide, a
            missing tracker, or a loss that stays non-finite.
    """
    accelerator = start_accelerate()
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        store.clean(folder)
    accelerator.wait_for_everyone()  # rank 0 has tidied up the folder
    latest = store.newest(folder)
    saved = None if latest is None else store.load_checkpoint(latest)
    facts = identity(settings, record)
    if saved is not None and latest is not None:
        check_same(facts, saved.state["identity"], folder)
        store.restore_module(objective, saved.model, latest)
    check_division(settings, accelerator.num_processes)
    if saved is not None and saved.state["step"] >= settings.steps:
        step = int(saved.state["step"])
        return Result(step, trim(folder / "log.jsonl", step) if accelerator.is_main_process else [], folder)
    run = _Run(accelerator, objective, settings, folder, facts, saved)
    with stop_signals(run.stop):
        return run.train(batches, images)


class _Run:
    """The moving parts of one call of `fit`."""

    def __init__(
        self,
        accelerator: Accelerator,
        objective: Trainable,
        settings: Settings,
        folder: Path,
        facts: dict[str, Any],
        saved: store.Checkpoint | None,
    ) -> None:
        self.accelerator, self.objective, self.settings = accelerator, objective, settings
        self.folder, self.facts = folder, facts
        self.stop = Stop(settings.time_limit)
        self.started = time.monotonic()
        self.guard, self.meter = Guard(settings.non_finite_limit), Meter()
        state: Mapping[str, Any] = {} if saved is None else saved.state
        self.step = self.saved_step = int(state.get("step", 0))
        self.seconds_before = float(state.get("seconds", 0.0))
        if "precision" in state:  # a run keeps its numbers, also where it resumes on another machine
            chosen = Precision(str(state["precision"]), "as the checkpoint says")
        else:
            chosen = agree_precision(settings, accelerator)
        self.precision, self.precision_reason = chosen.name, chosen.reason
        model, self.optimizer = wrap(objective, settings, accelerator)
        self.ema = Ema(objective, settings.ema)
        self.stepper = Stepper(
            accelerator, model, objective, self.optimizer, self.ema, self.precision, settings.clip
        )
        if saved is not None:
            self._restore(saved)
        restore_random(state.get("random", []), accelerator.process_index, settings.seed, self.step)
        self.log = self._open_log()

    def train(self, batches: Batches, images: Images | None) -> Result:
        """Step until the end, a signal or the time limit."""
        stream = batches.stream(
            self.step,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            accumulation=self.settings.accumulation,
        )
        requested = False
        try:
            train_mode(self.objective)
            while self.step < self.settings.steps and not requested:
                requested = self._advance(next(stream, None), images)
            # after a signal or the time limit, too: the run resumes at this very step
            if self.step > self.saved_step:
                self._save()
        finally:
            self.log.close()
        self.accelerator.wait_for_everyone()
        return Result(self.step, self.log.records, self.folder, self.step < self.settings.steps)

    def _advance(self, micro: list[Batch] | None, images: Images | None) -> bool:
        """One step and what follows it; true when the run was asked to stop."""
        if micro is None:
            raise UserError(
                f"the data ended at step {self.step} of {self.settings.steps}; give more images"
            )
        started = time.monotonic()
        settings, step = self.settings, self.step + 1
        lr = learning_rate(
            self.step,
            peak=settings.lr,
            steps=settings.steps,
            warmup=settings.warmup,
            min_ratio=settings.min_lr_ratio,
        )
        if settings.weight_decay_end is not None:
            ends = {"start": settings.weight_decay, "end": settings.weight_decay_end}
            set_decay(self.optimizer, weight_decay(self.step, **ends, steps=settings.steps))
        # the loop alone knows the length of the run, so it adds the progress
        micro = [replace(batch, step=step, steps=settings.steps) for batch in micro]
        outcome = self.stepper(micro, step, lr, self.stop.requested)
        self.step = step
        self._handle_outcome(outcome, micro)
        self.meter.add_timing(settings.batch_size, time.monotonic() - started)
        self.log.update(outcome.scalars["loss"], settings.batch_size / max(time.monotonic() - started, 1e-9))
        if self._due(settings.log_every) and self.meter.sums:
            self._write(lr)
        if images is not None and self._due(settings.sample_every):
            self._sample(images)
        if step % settings.save_every == 0:
            self._save()
        # Several processes stop together, on the flags that they exchanged during the step.
        return outcome.stop or (self.accelerator.num_processes == 1 and self.stop.requested())

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _handle_outcome(self, outcome: Outcome, micro: list[Batch]) -> None:
        """Count the step; on too many skipped ones save the batch and end the run."""
        if outcome.finite:
            self.guard.passed()
            self.meter.add({**outcome.scalars, "grad_norm": outcome.grad_norm})
            return
        cause = find_non_finite(self.objective, outcome.scalars)
        self.log.print(f"step {self.step} skipped: {cause} is not finite")
        if self.guard.skipped():
            rank = self.accelerator.process_index
            path = save_batch(self.folder, self.step, rank, micro, cause)
            raise stopped(self.step, self.guard, cause, path)

    def _write(self, lr: float) -> None:
        line = {"step": self.step, **self.meter.pop_means(), "lr": lr, "seconds": round(self._seconds(), 3)}
        line["peak_memory_mib"] = peak_memory_mib(self.accelerator.device)
        line["skipped"] = self.guard.total
        self.log.write(line)

    def _sample(self, images: Images) -> None:
        """Grids under the averaged weights; leaves modes and random states as they were."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        modes = [(module, module.training) for module in self.objective.modules()]
        # sampling must not advance the training's random numbers, or weights would depend on sample_every
        with torch.random.fork_rng(devices), self.ema.applied(), torch.no_grad():
            self.objective.eval()
            grids = images(self.objective, self.step)
        for module, training in modes:
            module.training = training
        self.log.grids(self.step, grids)

    def _save(self) -> None:
        # Every rank takes part up to the writing: random states and split tensors are gathered.
        live = store.module_tensors(self.objective)
        model = {name: full_tensor(tensor) for name, tensor in live.items()}
        averages = {name: full_tensor(tensor) for name, tensor in self.ema.shadow.items()}
        state = {
            "step": self.step,
            "seconds": self._seconds(),
            "precision": self.precision,
            "identity": self.facts,
            "guard": self.guard.state(),
            "meter": self.meter.sums,
            "random": gather_json(random_state(), self.accelerator),
        }
        saved = store.Checkpoint(
            model=model,
            # buffers and frozen weights have no average; the live ones complete the file
            ema={**model, **averages},
            optimizer=store.optimizer_tensors(self.objective, self.optimizer),
            state=state,
        )
        self.saved_step = self.step
        if self.accelerator.is_main_process:
            store.save_checkpoint(self.folder, saved, keep=self.settings.keep)

    def _restore(self, saved: store.Checkpoint) -> None:
        self.ema.load(saved.ema)
        store.restore_optimizer(self.objective, self.optimizer, saved.optimizer)
        self.guard.load(saved.state["guard"])
        self.meter.sums = {name: list(pair) for name, pair in saved.state["meter"].items()}

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _open_log(self) -> Log:
        settings, world = self.settings, self.accelerator.num_processes
        trainable = sum(p.numel() for p in self.objective.parameters() if p.requires_grad)
        resolved = {
            **asdict(settings),
            "effective_lr": settings.lr,
            "resolved_precision": self.precision,
            "device": str(self.accelerator.device),
            "processes": world,
            "micro_batch": settings.batch_size // (world * settings.accumulation),
            "trainable_parameters": trainable,
            "record": self.facts["record"],
        }
        main = self.accelerator.is_main_process
        if main:
            text = json.dumps(resolved, indent=1) + "\n"
            (self.folder / "settings.json").write_text(text, encoding="utf-8")
        log = Log(self.folder, self.step, settings, resolved, main)
        resumed = f", resumed at step {self.step}" if self.step else ""
        log.print(
            f"training {trainable:,} parameters on {self.accelerator.device} in {self.precision} "
            f"({self.precision_reason}): "
            f"lr {settings.lr:.3g} = {settings.base_lr:.3g} * {settings.batch_size} / 256, "
            f"batch {settings.batch_size} = {world} processes * {settings.accumulation} micro-batches * "
            f"{resolved['micro_batch']}{resumed}"
        )
        if launched_alone(world):
            log.print(
                "note: accelerate started one process only; for several on CPUs use "
                "ACCELERATE_USE_CPU=1 torchrun --nproc_per_node N ..."
            )
        return log
