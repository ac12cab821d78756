"""Official checkpoints of iTPN become our folders: both variants, and a fine-tuned backbone."""

import re

import pytest
import torch

from mimgen.checkpoints.convert import convert
from mimgen.checkpoints.official import OfficialModel
from mimgen.decoders.pyramid import FeatureHeads, PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.itpn import adapter as itpn
from mimgen.methods.itpn import adapter_clip as itpn_clip
from mimgen.types import Mask, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 64, "mlp_depths": (1, 2), "depth": 2, "heads": 1, "neck_width": 16}

# our names, in their order, to the official ones
_BACK = (
    (r"^encoder\.pos_embed$", "absolute_pos_embed"),
    (r"^encoder\.neck\.top\.", "align_dim_16tofpn."),
    (r"^encoder\.neck\.laterals\.0\.", "align_dim_16to8."),
    (r"^encoder\.neck\.laterals\.1\.", "align_dim_8to4."),
    (r"^encoder\.neck\.splits\.0\.", "split_16to8."),
    (r"^encoder\.neck\.splits\.1\.", "split_8to4."),
    (r"^encoder\.neck\.mixers\.0\.", "block_16to8."),
    (r"^encoder\.neck\.mixers\.1\.", "block_8to4."),
    (r"^encoder\.neck\.outputs\.", "fpn_modules."),
    (r"^encoder\.", ""),
)
PIXELS = (*_BACK, (r"^decoder\.mask_token$", "mask_token"), (r"^decoder\.", "decoder_"))
FEATURES = (
    *_BACK, (r"^decoder\.embed\.", "decoder_embed."), (r"^decoder\.head\.", "lm_head."),
    (r"^decoder\.blocks\.", "cls_pt_layers."), (r"^decoder\.early_norm\.", "norm_cls."),
    (r"^decoder\.early_head\.", "lm_cls_head."), (r"^decoder\.norm\.", "norm."),
)  # fmt: skip


def official(names, encoder, decoder=None):
    """The state dict under the names of the release, with the index of offsets that it keeps."""
    found = {"relative_position_index": torch.zeros(16, 16, dtype=torch.int64)}
    for key, value in OfficialModel(encoder, decoder).state_dict().items():
        for old, new in names:
            if re.match(old, key):
                found[re.sub(old, new, key)] = value
                break
    return found


def saved(path, tensors):
    torch.save({"model": tensors}, path)
    return path


def make_images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_pixel_variant_comes_over_whole(tmp_path):
    torch.manual_seed(0)
    encoder = HiVitEncoder(**SIZES, neck_depth=1, stretched=True).eval()
    decoder = PyramidDecoder(16, 4, 16, 32, 1, 1).eval()
    target = convert(itpn.ADAPTER, saved(tmp_path / "a.pth", official(PIXELS, encoder, decoder)), tmp_path / "made")
    ours, again = HiVitEncoder.from_pretrained(target), PyramidDecoder.from_pretrained(target / "decoder")
    mask = Random()((4, 4), SampleRNG([0, 1]))
    output = decoder(encoder.pyramid(make_images(), mask), mask)
    assert torch.equal(again(ours.pyramid(make_images(), mask), mask), output)


def test_the_clip_variant_comes_over_whole(tmp_path):
    torch.manual_seed(0)
    encoder = HiVitEncoder(**SIZES, neck_depth=2, relative=True, layer_scale=0.1, mask_token=True).eval()
    heads = FeatureHeads(16, 4, 16, 64, 1, 10).eval()
    path = saved(tmp_path / "a.pth", official(FEATURES, encoder, heads))
    target = convert(itpn_clip.ADAPTER, path, tmp_path / "made")
    ours, again = HiVitEncoder.from_pretrained(target), FeatureHeads.from_pretrained(target / "decoder")
    mask = Mask(torch.arange(16).expand(2, -1) % 3 == 0)
    output = heads(encoder.pyramid(make_images(), mask, layers=(-1,)))
    found = again(ours.pyramid(make_images(), mask, layers=(-1,)))
    assert torch.equal(found.main, output.main) and torch.equal(found.auxiliary, output.auxiliary)


def test_a_fine_tuned_backbone(tmp_path):
    torch.manual_seed(0)
    tuned = HiVitEncoder(**{**SIZES, "neck_width": 0}, relative=True, classes=5).eval()
    target = convert(itpn.ADAPTER, saved(tmp_path / "a.pth", official(PIXELS, tuned)), tmp_path / "made")
    assert not (target / "decoder").exists()
    assert torch.equal(HiVitEncoder.from_pretrained(target).classify(make_images()), tuned.classify(make_images()))


def test_heads_follow_from_the_width_or_the_config():
    tensors = official(PIXELS, HiVitEncoder(**SIZES), PyramidDecoder(16, 4, 16, 64, 1, 1))
    found = itpn.ADAPTER.arguments({}, tensors)
    assert (found["heads"], found["decoder"]["heads"]) == (1, 2)
    reported = itpn.ADAPTER.arguments({"num_heads": 4, "decoder_num_heads": 8}, tensors)
    assert (reported["heads"], reported["decoder"]["heads"]) == (4, 8)


def test_one_variant_is_not_the_other(tmp_path):
    tensors = official(PIXELS, HiVitEncoder(**SIZES), PyramidDecoder(16, 4, 16, 32, 1, 1))
    with pytest.raises(UserError, match="does not fit"):
        convert(itpn_clip.ADAPTER, saved(tmp_path / "a.pth", tensors), tmp_path / "made")
    del tensors["decoder_norm.bias"]
    with pytest.raises(UserError, match=r"missing decoder\.norm\.bias"):
        convert(itpn.ADAPTER, saved(tmp_path / "b.pth", tensors), tmp_path / "made")
