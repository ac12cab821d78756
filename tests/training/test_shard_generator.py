"""The text-to-image generator split as FSDP2 splits it, two gloo processes: steps, images on the way, whole files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn
from training_toy import leave, run_settings

from mimgen.encoders import ByteTextEncoder
from mimgen.generators import FeatureCache, MeissonicTransformer, Speed
from mimgen.generators.meissonic.objective import MaskedTokens
from mimgen.layers.recompute import recompute
from mimgen.pipelines import Preset
from mimgen.recipes import DataConfig, TrainGenerator
from mimgen.tokenizers import ConvTokenizer
from mimgen.training import checkpoint as store
from mimgen.training import fit, load_ema
from mimgen.training.ema import Ema
from mimgen.training.optim import build_optimizer, clip_gradients, clip_groups
from mimgen.training.shard import full_tensor, gathered, is_split, make_contiguous
from mimgen.types import Batch, SampleRNG

ROOT = Path(__file__).parents[2]
STEPS, CLIP, BATCH = 3, 0.05, 4
WORDS = ("red apple", "blue car", "cat", "dog")


class Batches:
    """Random ids in an order that is a pure function of the step."""

    def stream(
        self, start_step: int, *, rank: int = 0, world: int = 1, accumulation: int = 1
    ) -> Iterator[list[Batch]]:
        size, step = BATCH // world, start_step
        while True:
            rows = range(rank * size, (rank + 1) * size)
            codes = torch.randint(0, 16, (BATCH, 4, 4), generator=torch.Generator().manual_seed(step))
            yield [
                Batch(
                    images=torch.zeros(size, 3, 16, 16),
                    captions=tuple(WORDS[row] for row in rows),
                    keys=tuple(str(row) for row in rows),
                    rng=SampleRNG.for_rows(0, step, rows),
                    codes=codes[rows.start : rows.stop],
                )
            ]
            step += 1


def generator() -> MaskedTokens:
    torch.manual_seed(0)
    transformer = MeissonicTransformer(
        1, 2, 16, 2, 12, 32, pooled_text_dim=12, vocab_size=17, codebook_size=16, downsample=True, upsample=True,
        code_levels=(4, 4), places=(4, 4),
    )  # fmt: skip
    text = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32)
    tokenizer = ConvTokenizer(8, (1,), 1, 4, quantizer="fsq", levels=(4, 4))
    made = MaskedTokens(transformer, text, tokenizer, drop_condition=0.3, chunk=8)
    recompute([*transformer.transformer_blocks, *transformer.single_transformer_blocks])
    return made


def make_images(objective: MaskedTokens, speed: Speed) -> Tensor:
    sampling = Preset(steps=2, token_temperature=0.0, speed=speed)
    settings = run_settings(batch_size=BATCH)
    run = TrainGenerator("toy", "tiny", lambda codes: objective, None, DataConfig("emoji", 16), settings, sampling)
    return run.pipeline(objective)(["cat"]).tokens


def _parts() -> tuple[MaskedTokens, torch.optim.Optimizer, Ema]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    objective, mesh = generator(), init_device_mesh("cpu", (2,))
    make_contiguous(objective)  # the tokenizer keeps its kernels channels-last
    for block in (*objective.transformer.transformer_blocks, *objective.transformer.single_transformer_blocks):
        fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    optimizer = build_optimizer(objective, lr=0.3 * 8 / 256, betas=(0.9, 0.99), weight_decay=0.05)
    return objective, optimizer, Ema(objective, 0.9)


def main(out: Path) -> None:
    """One of the two processes."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    objective, optimizer, ema = _parts()
    assert is_split(objective) and not is_split(generator())
    stream = Batches().stream(0, rank=rank, world=2)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        objective(next(stream)[0]).total.backward()
        clip_gradients(clip_groups(objective), CLIP)
        optimizer.step()
        ema.update(step)
    with ema.applied(), gathered(objective), torch.no_grad():
        sampled = make_images(objective.eval(), Speed(cache=FeatureCache(2), guidance_every=2))
    model = {name: full_tensor(tensor) for name, tensor in store.module_tensors(objective).items()}
    averages = {name: full_tensor(tensor) for name, tensor in ema.shadow.items()}
    moments = store.optimizer_tensors(objective, optimizer)
    if rank == 0:
        store.save_checkpoint(out, store.Checkpoint(model, {**model, **averages}, moments, {"step": STEPS}), keep=1)
        plain = generator()
        load_ema(out, plain)
        assert torch.equal(make_images(plain.eval(), Speed()), sampled), "without what FSDP2 does not see"
    # a step after the images, so that weights are split again
    objective.train()
    objective(next(stream)[0]).total.backward()
    optimizer.step()
    leave()


def test_split_weights_make_the_same_run(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [*launcher, __file__, str(tmp_path / "two")],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        timeout=600,  # against hanging only: a busy machine takes long to start processes
    )
    assert done.returncode == 0, done.stderr[-3000:]
    settings = run_settings(steps=STEPS, batch_size=BATCH, base_lr=0.6, warmup=0, min_lr_ratio=1.0, clip=CLIP)
    objective: nn.Module = generator()
    fit(objective, Batches(), settings, tmp_path / "one")
    weights = f"checkpoints/step-{STEPS:08d}/model.safetensors"
    one, two = (load_file(tmp_path / name / weights) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4, msg=key)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
