"""Released generators over TiTok's ids become parts of ours."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.generators.titok_maskgit.adapter import ADAPTER
from mimgen.generators.titok_maskgit.model import TiTokMaskGit

SIZES = {"codebook_size": 10, "length": 6, "classes": 3, "width": 16, "depth": 3, "heads": 2, "hidden": 24}


@pytest.mark.parametrize("body", ["bert", "uvit"])
def test_a_release_loads_as_it_is(body, tmp_path):
    torch.manual_seed(0)
    model = TiTokMaskGit(**SIZES, body=body, dropout=0.2).eval()
    (tmp_path / "hf").mkdir()
    save_file(dict(model.state_dict()), tmp_path / "hf" / "model.safetensors")
    output = {"model": {"generator": {"num_attention_heads": 2, "dropout": 0.2}}}
    (tmp_path / "hf" / "config.json").write_text(json.dumps(output))
    loaded = TiTokMaskGit.from_pretrained(convert(ADAPTER, tmp_path / "hf", tmp_path / "made"))
    assert loaded.config == model.config
    tokens, labels = torch.randint(0, 11, (2, 6)), torch.tensor([0, 3])
    assert torch.equal(loaded(tokens, labels), model(tokens, labels))


def test_something_else_is_refused(tmp_path):
    save_file({"head.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="is not titok_maskgit"):
        convert(ADAPTER, tmp_path / "x.safetensors", tmp_path / "made")
