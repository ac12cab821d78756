"""Adapters: nothing changes at first, only they are trained, merged they are the same, and peft reads the files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.training import Lora, add_lora, load_adapter, merge_lora, save_adapter
from mimgen.training.ema import Ema

peft = pytest.importorskip("peft")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"to_q": nn.Linear(6, 6), "to_k": nn.Linear(6, 6)})
        self.ff = nn.ModuleDict({"widen": nn.Linear(6, 6)})
        self.norm = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.attn["to_q"](x) * self.attn["to_k"](x).sigmoid()
        return x + self.ff["widen"](mixed) + self.norm(x)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block())


def trained(lora: Lora) -> nn.Sequential:
    """A model whose adapters are no longer zero."""
    made = model()
    add_lora(made, lora)
    generator = torch.Generator().manual_seed(3)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator)
    return made


X = torch.linspace(-1, 1, 24).view(4, 6)


@pytest.mark.parametrize(("layers", "count"), [("attention", 4), ("blocks", 6), ("all", 8)])
def test_only_the_named_layers_learn(layers: str, count: int) -> None:
    made, before = model(), model()(X)
    add_lora(made, Lora(2, layers=layers))  # type: ignore[arg-type]
    torch.testing.assert_close(made(X), before, rtol=0, atol=0)
    learning = [name for name, p in made.named_parameters() if p.requires_grad]
    assert len(learning) == 2 * count and all(".lora_" in name for name in learning)
    made(X).sum().backward()
    assert all(p.grad is None for name, p in made.named_parameters() if ".lora_" not in name)
    assert set(Ema(made, 0.9).shadow) == set(learning)


def test_the_adapter_is_alpha_over_rank_times_b_a() -> None:
    made = trained(Lora(2, alpha=6.0))
    layer = made[0].attn["to_q"]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer(X) + 3.0 * X @ a.T @ b.T
    torch.testing.assert_close(layer(X), expected)


def test_merged_weights_give_the_same_and_are_plain() -> None:
    made = trained(Lora(2, layers="blocks"))
    expected = made(X)
    merge_lora(made)
    torch.testing.assert_close(made(X), expected)
    assert made.state_dict().keys() == model().state_dict().keys()
    assert not torch.equal(made[0].attn["to_q"].weight, model()[0].attn["to_q"].weight)
    assert torch.equal(made[0].norm.weight, model()[0].norm.weight)


def test_files_come_back_at_any_strength_and_are_pefts_own(tmp_path: Path) -> None:
    lora = Lora(3, alpha=1.5, layers="blocks")
    made = trained(lora)
    save_adapter(made, lora, tmp_path)
    again, weak, off = model(), model(), model()
    load_adapter(again, tmp_path)
    torch.testing.assert_close(again(X), made(X))
    load_adapter(off, tmp_path, strength=0.0)
    torch.testing.assert_close(off(X), model()(X))
    load_adapter(weak, tmp_path, strength=0.5)
    middle = (again[0].attn["to_q"].weight + off[0].attn["to_q"].weight) / 2
    torch.testing.assert_close(weak[0].attn["to_q"].weight, middle)
    theirs = peft.PeftModel.from_pretrained(model(), str(tmp_path))
    torch.testing.assert_close(theirs(X), made(X))


@pytest.mark.parametrize("targets", [["to_q", "ff.widen"], r".*\.attn\.to_[qk]", "all-linear"])
def test_pefts_usual_files_are_read(targets: list[str] | str, tmp_path: Path) -> None:
    theirs = peft.get_peft_model(model(), peft.LoraConfig(r=2, lora_alpha=3, target_modules=targets))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in theirs.named_parameters():
        if ".lora_" in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    theirs.save_pretrained(str(tmp_path))
    made = model()
    load_adapter(made, tmp_path)
    torch.testing.assert_close(made(X), theirs(X))
    assert not torch.equal(made(X), model()(X)) and made.state_dict().keys() == model().state_dict().keys()


def test_what_learned_before_learns_after(tmp_path: Path) -> None:
    save_adapter(trained(Lora(2)), Lora(2), tmp_path)
    made = model()
    made[0].requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in made.named_parameters()}
    load_adapter(made, tmp_path)
    assert {name: parameter.requires_grad for name, parameter in made.named_parameters()} == before
    assert not hasattr(made, "peft_config")


def test_adapters_come_from_their_seed_alone() -> None:
    sampled = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(sampled))
        made, state = model(), torch.get_rng_state()
        add_lora(made, Lora(2), seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        sampled.append(made[0].attn["to_q"].lora_A["default"].weight)
    assert torch.equal(sampled[0], sampled[1]) and not torch.equal(sampled[0], sampled[2])


def test_whole_weights_besides_are_refused(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["to_q"], modules_to_save=["norm"])
    peft.get_peft_model(model(), config).save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match="other weights than low-rank adapters"):
        load_adapter(model(), tmp_path)
    (tmp_path / "adapter_config.json").write_text("no JSON")
    with pytest.raises(UserError, match="not one that peft reads"):
        load_adapter(model(), tmp_path)


def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="give at least 1"):
        Lora(0)
    with pytest.raises(UserError, match="alpha -1"):
        Lora(2, alpha=-1)
    with pytest.raises(UserError, match="attention, blocks, all"):
        Lora(2, layers="heads")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="choose layers 'all'"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), Lora(2))
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        load_adapter(model(), tmp_path)
    save_adapter(trained(Lora(2)), Lora(2), tmp_path)
    with pytest.raises(UserError, match="adapter of another model than this Sequential"):
        load_adapter(nn.Sequential(nn.Linear(2, 2)), tmp_path)
    wide = nn.Sequential(Block(), Block())
    wide[0].attn["to_q"] = nn.Linear(7, 6)
    names, weight = wide.state_dict().keys(), wide[1].attn["to_q"].weight.clone()
    with pytest.raises(UserError, match=r"another model: .* tensors differ"):
        load_adapter(wide, tmp_path)
    assert wide.state_dict().keys() == names and torch.equal(wide[1].attn["to_q"].weight, weight)
    assert all(parameter.requires_grad for parameter in wide.parameters())
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'mimgen\[lora\]'"):
        add_lora(model(), Lora(2))
