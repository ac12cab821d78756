"""Released TiTok folders become parts of ours."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.tokenizers.titok import TiTok, TiTokLegacy, TiTokProxy
from mimgen.tokenizers.titok.adapter import ADAPTER

SIZES = {"image_size": 16, "tokens": 6, "patch": 4, "encoder": (32, 1, 8), "decoder": (24, 2, 12),
         "codebook_size": 32, "token_size": 5}  # fmt: skip
VQGAN = {"pixel_width": 8, "pixel_channels": 32, "pixel_multipliers": (1, 2, 1), "pixel_blocks": 2}
# what the official configuration says, beyond what the tensors predict
CONFIG = {"vit_enc_model_size": "small", "vit_dec_model_size": "base", "use_l2_norm": True}

RELEASES = {
    "legacy": (lambda: TiTokLegacy(**SIZES, **VQGAN, classes=16), {}),
    "stage one": (lambda: TiTokProxy(**SIZES, classes=16, reshaped=True), {}),
    "newer": (lambda: TiTok(**SIZES, cosine=False), {"is_legacy": False, "use_l2_norm": False}),
    "continuous": (lambda: TiTok(**SIZES, quantizer="kl"), {"is_legacy": False, "quantize_mode": "vae"}),
}


def folder(path, model, output):
    path.mkdir()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path / "model.safetensors")
    config = {"experiment": {"name": "x"}, "model": {"vq_model": {**CONFIG, **output}}}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_loads_as_it_is(name, tmp_path):
    torch.manual_seed(0)
    make, output = RELEASES[name]
    model = make().eval()
    target = convert(ADAPTER, folder(tmp_path / "hf", model, output), tmp_path / "made")
    made = type(model).from_pretrained(target)
    images = torch.rand(2, 3, 16, 16)
    codes, ours = model.encode(images), made.encode(images)
    assert torch.equal(ours.latents, codes.latents)
    assert torch.equal(made.decoder(ours.latents), model.decoder(codes.latents))


def test_a_missing_tensor_is_listed(tmp_path):
    model = TiTok(**SIZES)
    del model.decoder.conv_out.bias
    with pytest.raises(UserError, match=r"missing decoder\.conv_out\.bias"):
        convert(ADAPTER, folder(tmp_path / "hf", model, {"is_legacy": False}), tmp_path / "made")
