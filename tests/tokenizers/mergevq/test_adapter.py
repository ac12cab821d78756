"""Released MergeVQ and Open-MAGVIT2 checkpoints become parts of ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.tokenizers.magvit2 import adapter as open_magvit2
from mimgen.tokenizers.magvit2.model import OpenMagvit2
from mimgen.tokenizers.mergevq import MergeVQ, keep_counts
from mimgen.tokenizers.mergevq import adapter as mergevq
from tests.parity.replays.mergevq import OfficialKeepCount

EXTRA = {"loss.discriminator.main.0.weight": torch.zeros(1), "quantize.codebook": torch.zeros(1)}
SIZES: dict[str, Any] = {
    "resolution": 16, "channels": 8, "multipliers": (1, 2), "bits": 6, "layers": 2, "heads": 2,
    "keep": 36, "candidates": "gaussian-3", "rep_dim": 5,
}  # fmt: skip
VARIANTS = {
    "convolutions": MergeVQ(**SIZES, blocks=(1, 2), rep_layers=1),
    "one head of two layers": MergeVQ(**SIZES, blocks=1, head="layer2"),
    "patches": MergeVQ(**SIZES, blocks=1, patch_width=24, encoder_heads=3),
    "no head": MergeVQ(**SIZES, blocks=2, head=None),
}


def checkpoint(folder: Path, model: nn.Module, config: dict[str, Any] | None = None) -> Path:
    """A .ckpt as the official trainer writes it, with its configuration beside it."""
    folder.mkdir()
    torch.save({"state_dict": {**model.state_dict(), **EXTRA}}, folder / "last.ckpt")
    if config is not None:
        nested = {"model": {"class_path": "x", "init_args": {"ddconfig": config, "n_embed": 64}}}
        (folder / "config.yaml").write_text(yaml.safe_dump(nested))
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_a_mergevq_release_loads_as_it_is(name: str, tmp_path: Path) -> None:
    model = VARIANTS[name].eval()
    heads = {"num_heads": 2} if name != "patches" else {"num_heads": 2, "head_dim": 8}
    config = {"resolution": 16, "ch": 8, "merge_num": 28, "cand_distribution": "gaussian-3", **heads}
    source = checkpoint(tmp_path / "in", model, config)
    made = MergeVQ.from_pretrained(convert(mergevq.ADAPTER, source, tmp_path / "out"))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codes = model.encode(images)
        assert torch.equal(made.encode(images).indices, codes.indices)
        assert torch.equal(made.decode(codes), model.decode(codes))
        assert made.schedule == model.schedule


def test_open_magvit2_follows_from_its_tensors(tmp_path: Path) -> None:
    model = OpenMagvit2(8, (1, 2, 2), (1, 1, 0), bits=5).eval()
    source = checkpoint(tmp_path / "in", model)
    made = OpenMagvit2.from_pretrained(convert(open_magvit2.ADAPTER, source, tmp_path / "out"))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(made.decode(made.encode(images)), model.decode(model.encode(images)))


def test_without_configuration_the_variant_is_recognised() -> None:
    official = {
        "G": (MergeVQ(256, 32, (1, 1, 1, 2), 1, layers=6, heads=1, keep=256, candidates=None), (256, 529)),
        "G+R": (MergeVQ(256, 32, (1, 1, 1, 1, 2), 1, layers=6, heads=1, candidates=None), (144, 256)),
        "R": (MergeVQ(256, 32, (1, 1, 1, 1, 2), 1, layers=6, heads=1, patch_width=64, candidates=None), (64, 144)),
    }
    for model, (keep, maximum) in official.values():
        made = MergeVQ(**mergevq.arguments({}, model.state_dict()))
        assert (made.keep, made.schedule.counts[-1]) == (keep, maximum)
        assert {k: v.shape for k, v in made.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_a_second_stage_configuration_merges_nothing() -> None:
    config = {"resolution": 16, "merge_num": 0, "cand_distribution": "gaussian-6"}
    found = mergevq.arguments({"ddconfig": config}, VARIANTS["convolutions"].state_dict())
    assert (found["keep"], found["candidates"]) == (64, None)


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    model = OpenMagvit2(8, (1, 2), 1, bits=5)
    del model.decoder.conv_out.bias
    with pytest.raises(UserError, match=r"missing decoder\.conv_out\.bias"):
        convert(open_magvit2.ADAPTER, checkpoint(tmp_path / "in", model), tmp_path / "out")
    with pytest.raises(UserError, match="is not mergevq"):
        convert(mergevq.ADAPTER, checkpoint(tmp_path / "other", nn.Linear(2, 2)), tmp_path / "out")


def test_a_draw_of_the_same_base_removal_is_lost_as_in_the_release() -> None:
    counts = keep_counts(9, "exponential-2")
    assert counts.sample(0.99) == 16
    # over 24 layers neither 7 nor 0 tokens are worth one per layer
    assert OfficialKeepCount(16, 24, counts, keep=9).sample(0.99) == 9
    assert OfficialKeepCount(16, 2, counts, keep=9).sample(0.99) == 16


def test_unknown_candidates_are_drawn_alike() -> None:
    assert mergevq.candidates({"cand_distribution": "even-4"}) == "uniform-4"
    assert mergevq.candidates({"cand_distribution": "gaussian-4"}) == "gaussian-4"
    assert mergevq.candidates({}) is None
