"""The decoder that reads the encoder's layers: what each memory does, and what is left without them."""

from dataclasses import replace

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit
from mimgen.types import SampleRNG

TAPS = (2, 1, 0)


def parts():
    torch.manual_seed(0)
    encoder = VolumeVit((8, 8, 8), 4, 24, 3, 2)
    return encoder.eval(), HierarchicalDecoder((2, 2, 2), 24, 64, TAPS, 12, 2, 2).eval()


def seen():
    encoder, decoder = parts()
    mask = Random(0.5)((2, 4), SampleRNG([0, 1]))
    volumes = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    return encoder(volumes, mask, layers=TAPS), decoder, mask


def test_without_what_it_reads_it_is_a_decoder_of_plain_blocks():
    tokens, decoder, mask = seen()
    for block in decoder.cross_blocks:
        torch.nn.init.zeros_(block.cross_attn.proj.weight)
        torch.nn.init.zeros_(block.cross_attn.proj.bias)
    x = decoder.embed(torch.cat([tokens.prefix, tokens.patches], dim=1))
    cells = torch.zeros(2, 8, 12)
    for row in range(2):
        cells[row, mask.keep[row]] = x[row, 1:]
        cells[row, mask.drop[row]] = decoder.mask_token[0, 0]
    x = torch.cat([x[:, :1], cells + decoder.pos_embed], dim=1)
    for block in decoder.blocks:
        x = block(x)
    for block in decoder.cross_blocks:
        x = x + block.self_attn(block.norm0(x))
        x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(decoder(tokens, mask), decoder.head(decoder.norm(x))[:, 1:])


@pytest.mark.parametrize("tap", range(3))
def test_every_memory_is_read(tap):
    tokens, decoder, mask = seen()
    memories = [memory * (number != tap) for number, memory in enumerate(tokens.memories)]
    assert (decoder(tokens, mask) - decoder(replace(tokens, memories=tuple(memories)), mask)).abs().max() > 1e-4


def test_memories_are_read_in_the_order_of_the_taps():
    tokens, decoder, mask = seen()
    turned = replace(tokens, memories=tokens.memories[::-1])
    assert not torch.allclose(decoder(tokens, mask), decoder(turned, mask))
    order = []
    for number, block in enumerate(decoder.cross_blocks):
        block.register_forward_pre_hook(lambda _, given, number=number: order.append((number, given[1])))
    decoder(tokens, mask)
    for number, memory in order:
        assert torch.equal(memory, decoder.memories[number](tokens.memories[number]))


def test_mistakes_are_named():
    tokens, decoder, mask = seen()
    with pytest.raises(UserError, match=r"layers=decoder\.taps"):
        decoder(replace(tokens, memories=tokens.memories[:2]), mask)
    with pytest.raises(UserError, match="same volumes"):
        decoder(tokens, Random(0.25)((2, 4), SampleRNG([0, 1])))
    with pytest.raises(UserError, match="give taps"):
        HierarchicalDecoder(taps=())
