"""A digest changes with whatever changes what an encoder computes."""

import torch

from mimgen.encoders import VitEncoder
from mimgen.encoders.digest import digest_of
from mimgen.encoders.plain import PixelEncoder


def vit(**changes: object) -> VitEncoder:
    encoder = VitEncoder(**{"image_size": 8, "patch": 4, "width": 8, "depth": 1, "heads": 2, **changes})
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(0.5)
    return encoder


def test_same_encoder_same_digest() -> None:
    assert digest_of(vit()) == digest_of(vit())
    assert len(digest_of(vit())) == 16
    assert digest_of(PixelEncoder(8), 8) == digest_of(PixelEncoder(8), 8)


def test_weights_settings_buffers_and_facts_count() -> None:
    moved = vit()
    with torch.no_grad():
        moved.blocks[0].attn.qkv.weight[0, 0] += 1e-6
    other_mean = vit()
    other_mean.mean += 0.1  # a buffer that no checkpoint holds
    digests = [
        digest_of(vit()),
        digest_of(moved),
        digest_of(vit(heads=4)),  # weights of the same names and shapes
        digest_of(other_mean),
        digest_of(vit(), "fact"),
        digest_of(PixelEncoder(8), 8),
        digest_of(PixelEncoder(16), 16),
    ]
    assert len(set(digests)) == len(digests)
