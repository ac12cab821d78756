"""The Meissonic transformer: shapes, compression, positions, messages."""

import pytest
import torch

from mimgen.encoders import ByteTextEncoder
from mimgen.errors import UserError
from mimgen.generators import GeneratorEncoder, MeissonicTransformer
from mimgen.tokenizers import ConvTokenizer


def transformer(compress: bool = False, **changes: object) -> MeissonicTransformer:
    torch.manual_seed(0)
    numbers: dict = {
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 12,
        "pooled_projection_dim": 32,
        "pooled_text_dim": 12,
        "vocab_size": 41,
        "codebook_size": 40,
        "downsample": compress,
        "upsample": compress,
    }
    return MeissonicTransformer(**{**numbers, **changes}).eval()


def inputs(height: int, width: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randint(0, 41, (2, height, width), generator=generator),
        torch.randn(2, 5, 12, generator=generator),
        torch.randn(2, 12, generator=generator),
        torch.rand(2, generator=generator),
        torch.tensor([[64.0, 64, 0, 0, 6]]).expand(2, -1),
    )


@pytest.mark.parametrize(("compress", "height", "width"), [(False, 3, 4), (True, 4, 6), (True, 3, 5)])
def test_logits_at_positions_equal_all_logits(compress: bool, height: int, width: int) -> None:
    model, given = transformer(compress), inputs(height, width)
    with torch.no_grad():
        everywhere = model(*given)
        positions = torch.tensor([[0, 5, 2], [7, 1, 11]])
        some = model(*given, positions=positions)
    assert everywhere.shape == (2, height * width, 40)
    torch.testing.assert_close(some, everywhere.gather(1, positions[..., None].expand(-1, -1, 40)))


def test_learned_places_are_resized_to_the_grid() -> None:
    model = transformer(places=(3, 4))
    with torch.no_grad():
        here, elsewhere = model(*inputs(3, 4)), model(*inputs(6, 8))
        model.places.zero_()
        assert not torch.allclose(here, model(*inputs(3, 4)))
        assert not torch.allclose(elsewhere, model(*inputs(6, 8)))


def test_rows_of_codes_are_sums_over_their_digits() -> None:
    from mimgen.generators.meissonic.tokens import DigitTable

    torch.manual_seed(0)
    table = DigitTable((3, 4), rows=14, width=5, scale=1.0)
    rows = table()
    # id = first + 3 * second: equal first digits differ by what the second digits differ by
    torch.testing.assert_close(rows[1 + 3 * 2] - rows[1], rows[2 + 3 * 2] - rows[2])
    torch.testing.assert_close(rows[4], table.rows[1] + table.rows[3 + 1])
    assert (rows[12:] == 0).all()


def test_digits_of_the_table_are_those_of_the_quantiser() -> None:
    from mimgen.generators.meissonic.tokens import DigitTable
    from mimgen.tokenizers import FiniteScalarQuantizer

    levels = (8, 5, 3)
    codes = FiniteScalarQuantizer(levels).lookup(torch.arange(120).view(1, 1, -1))[0, :, 0].T
    digits = DigitTable(levels, 120, 4, 1.0).digits.split(levels, dim=1)
    values = torch.stack([d.argmax(1) - level // 2 for d, level in zip(digits, levels, strict=True)], dim=1)
    torch.testing.assert_close(codes, values / torch.tensor([level // 2 for level in levels]))


def test_digits_change_the_logits() -> None:
    model, given = transformer(code_levels=(5, 8)), inputs(3, 4)
    with torch.no_grad():
        before = model(*given)
        model.mlm_layer.digits.rows.add_(1.0 * torch.arange(13)[:, None])
        assert not torch.allclose(before, model(*given))


def test_every_input_matters() -> None:
    model, given = transformer(), inputs(3, 4)
    with torch.no_grad():
        base = model(*given)
        for position in range(5):
            changed = list(given)
            changed[position] = 40 - given[0] if position == 0 else given[position] + 1.0
            assert not torch.allclose(base, model(*changed)), position


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(UserError, match="pooled_text_dim"):
        transformer(pooled_projection_dim=20)
    with pytest.raises(UserError, match="mask"):
        transformer(vocab_size=40)


def test_generator_as_encoder() -> None:
    tokenizer = ConvTokenizer(
        channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8)
    ).eval()
    text = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32).eval()
    encoder = GeneratorEncoder(transformer(compress=True), tokenizer, text)
    tokens = encoder(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), layers=(1, 2))
    assert tokens.patches.shape == (2, 4, 32) and tokens.grid == (2, 2) and encoder.patch == 8
    assert len(tokens.levels) == 2 and encoder.depth == 3
    torch.testing.assert_close(tokens.levels[1], tokens.patches)
