"""MAGE's transformer: what encoder and decoder see, generation, features, saving, messages."""

from pathlib import Path

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators.mage.encoder import MageEncoder
from mimgen.generators.mage.model import MageTransformer
from mimgen.sampling import unmask
from mimgen.sampling.temperatures import Falling
from mimgen.tokenizers import ConvTokenizer
from mimgen.types import SampleRNG

NUMBERS: dict = {
    "side": 4, "codebook_size": 20, "width": 24, "depth": 2, "heads": 3,
    "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip
TOKENS = torch.randint(0, 20, (2, 16), generator=torch.Generator().manual_seed(0))


def transformer(**changes: object) -> MageTransformer:
    torch.manual_seed(0)
    return MageTransformer(**{**NUMBERS, **changes}).eval()


def test_dropped_tokens_are_not_seen() -> None:
    model, keep = transformer(), torch.tensor([[0, 5, 9], [1, 2, 15]])
    other = TOKENS.clone()
    other[0, 1] = (other[0, 1] + 1) % 20
    with torch.no_grad():
        assert torch.equal(model.encode(TOKENS, keep)[-1], model.encode(other, keep)[-1])
        other[1, 2] = (other[1, 2] + 1) % 20
        assert not torch.equal(model.encode(TOKENS, keep)[-1][1], model.encode(other, keep)[-1][1])
        assert model.encode(TOKENS, keep)[-1].shape == (2, 4, 24)


def test_the_class_slot_stands_for_every_masked_token() -> None:
    model = transformer()
    latent = torch.randn(2, 17, 24, generator=torch.Generator().manual_seed(1))
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[:, 3] = True
    other = latent.clone()
    other[:, 1 + 3] = 7.0
    with torch.no_grad():
        assert torch.equal(model.decode(latent, masked), model.decode(other, masked))
        other[:, 0] = 7.0
        assert not torch.allclose(model.decode(latent, masked), model.decode(other, masked))
        keep = torch.arange(16).expand(2, -1)
        assert torch.equal(model.decode(latent, masked, keep), model.decode(latent, masked))
        assert torch.equal(model.decode(latent, masked, slot=True)[:, 1:], model.decode(latent, masked))


def test_the_head_sends_no_gradient_to_the_words() -> None:
    model = transformer()
    states = torch.randn(2, 16, 16, requires_grad=True)
    model.head(states).square().sum().backward()
    assert states.grad is not None
    assert model.token_emb.word_embeddings.weight.grad is None


def test_dropout_is_on_in_training_only() -> None:
    model = transformer()
    with torch.no_grad():
        assert torch.equal(model(TOKENS), model(TOKENS))
        assert not torch.equal(model.train()(TOKENS), model(TOKENS))


def test_generation_by_the_common_sampler() -> None:
    model = transformer()
    positions = torch.tensor([[3, 0], [7, 8]])
    shown = TOKENS.masked_fill(TOKENS < 12, model.mask_id)
    with torch.no_grad():
        whole, some = model(shown), model(shown, positions=positions)
    assert torch.allclose(some, whole.gather(1, positions[..., None].expand(-1, -1, 20)), atol=1e-6)
    result = unmask(
        lambda tokens, positions, step, guided: model(tokens, positions=positions),
        shown, mask_id=model.mask_id, steps=4, rng=SampleRNG([1, 2]), grid=(4, 4), choice_temperature=Falling(4.5),
    )  # fmt: skip
    assert bool((result.tokens < 20).all())
    assert torch.equal(result.tokens[TOKENS >= 12], TOKENS[TOKENS >= 12])


def test_features_of_images() -> None:
    torch.manual_seed(0)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 4)).eval()
    side = 4 * tokenizer.downsample
    images = torch.rand(2, 3, side, side)
    encoder = MageEncoder(transformer(), tokenizer)
    tokens = encoder(images, layers=(0,))
    assert (encoder.dim, encoder.depth, tokens.grid) == (24, 2, (4, 4))
    assert tokens.patches.shape == (2, 16, 24)
    assert tokens.prefix.shape == (2, 1, 24)
    assert [level.shape for level in tokens.levels] == [(2, 16, 24)]
    with pytest.raises(UserError, match="20 codes and the transformer 21"):
        MageEncoder(transformer(codebook_size=21), tokenizer)


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = transformer(positions=30)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(MageTransformer.from_pretrained(tmp_path)(TOKENS), model(TOKENS))


def test_messages() -> None:
    with pytest.raises(UserError, match="9 tokens for a transformer of 4 x 4"):
        transformer()(TOKENS[:, :9])
    with pytest.raises(UserError, match="16 positions for 16 tokens"):
        transformer(positions=16)


def test_every_kind_of_dropout_acts() -> None:
    model = transformer(dropout=0.5).train()
    model.dropout.p = 0.0
    for block in [*model.blocks, *model.decoder_blocks]:
        block.dropout.p = block.mlp.dropout.p = 0.0
    with torch.no_grad():
        assert torch.equal(model(TOKENS), model(TOKENS))
        model.blocks[0].mlp.dropout.p = 0.5
        assert not torch.equal(model(TOKENS), model(TOKENS))
