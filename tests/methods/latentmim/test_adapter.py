"""Official checkpoints of LatentMIM become our folders; the slow copy stays behind."""

import torch

from mimgen.checkpoints.convert import convert
from mimgen.masking.random import Random
from mimgen.methods.latentmim.adapter import ADAPTER
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.types import SampleRNG

_NAMES = (
    ("patch_embed.proj", "embed.proj"), ("projector.linears.", "head.linear"), ("projector.norms.", "head.norm"),
    ("decoder.pred", "decoder.head"), (".attn.", ".self_attn."), ("cross_attn.q.", "cross_attn.q_proj."),
    ("cross_attn.kv.", "cross_attn.kv_proj."), ("norm2.", "norm2q."), ("norm_memory", "norm2kv"),
)  # fmt: skip


def official(**parts):
    """The state dict under the names of the release."""
    named = {}
    for part, module in parts.items():
        for key, value in module.state_dict().items():
            name = f"{part}.{key}"
            names = _NAMES if part == "decoder" else _NAMES[:3]
            for ours, theirs in names:
                name = name.replace(ours, theirs)
            if name.endswith(".pos_embed"):
                name, value = f"{name}.pos_embeds", value[0]
            named[name] = value
    return named


def test_encoder_and_decoder_come_over_whole(tmp_path):
    torch.manual_seed(0)
    encoder = LatentVit(16, 4, 64, 2, 1, head_width=48, head_depth=2).eval()
    decoder = LatentDecoder(16, 4, 64, 32, 2, 1).eval()
    tensors = official(encoder=encoder, target_encoder=encoder, decoder=decoder)
    torch.save({"model": tensors}, tmp_path / "x.pth")
    target = convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made")
    ours, again = LatentVit.from_pretrained(target), LatentDecoder.from_pretrained(target / "decoder")
    images, mask = torch.rand(2, 3, 16, 16), Random()((4, 4), SampleRNG([0, 1]))
    output = decoder(encoder.latents(images, mask), mask)
    assert torch.equal(again(ours.latents(images, mask), mask), output)


def test_an_encoder_alone_without_projector(tmp_path):
    encoder = LatentVit(16, 4, 64, 1, 1, head_depth=0).eval()
    torch.save({"model": official(encoder=encoder)}, tmp_path / "x.pth")
    target = convert(ADAPTER, tmp_path / "x.pth", tmp_path / "made")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(LatentVit.from_pretrained(target)(images).patches, encoder(images).patches)
    assert not (target / "decoder").exists()
    reported = ADAPTER.arguments({"num_heads": 4}, official(encoder=encoder))
    assert reported["heads"] == 4 and reported["head_depth"] == 0
