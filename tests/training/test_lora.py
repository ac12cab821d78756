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
    with pytest.raises(UserError, match=r"0.attn.to_k, which a Sequential"):
        load_adapter(nn.Sequential(nn.Linear(2, 2)), tmp_path)
    wide = nn.Sequential(Block(), Block())
    wide[0].attn["to_q"] = nn.Linear(7, 6)
    with pytest.raises(UserError, match="another model"):
        load_adapter(wide, tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'mimgen\[lora\]'"):
        add_lora(model(), Lora(2))
