"""One contract for every tokenizer: images to codes and back, ids alone suffice, clear errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers import (
    CentroidTokenizer,
    ConvTokenizer,
    DiffusersKL,
    DiffusersVQ,
    LlamaGenVQ,
    MergeVQ,
    OpenMagvit2,
    Tokenizer,
)
from mimgen.tokenizers.titok import TiTok
from mimgen.tokenizers.vqkd.model import VqKd


def conv(quantizer: str) -> ConvTokenizer:
    return ConvTokenizer(
        channels=8,
        multipliers=(1, 2),
        blocks=1,
        stem=2,
        latent=6,
        quantizer=quantizer,
        codebook_size=32,
        levels=(5, 5),
    )


def diffusers_vq() -> DiffusersVQ:
    from diffusers import VQModel

    return DiffusersVQ(
        VQModel(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 8),
            norm_num_groups=4,
            latent_channels=4,
            num_vq_embeddings=16,
            lookup_from_codebook=True,
        )
    )


def diffusers_kl() -> DiffusersKL:
    from diffusers import AutoencoderKL

    return DiffusersKL(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 8),
            norm_num_groups=4,
            latent_channels=4,
        )
    )


MEMBERS: dict[str, Callable[[], Any]] = {
    "conv vq": lambda: conv("vq"),
    "conv lfq": lambda: conv("lfq"),
    "conv fsq": lambda: conv("fsq"),
    "conv bsq": lambda: conv("bsq"),
    "conv simvq": lambda: conv("simvq"),
    "conv ibq": lambda: conv("ibq"),
    "conv residual": lambda: conv("residual"),
    "diffusers vq": diffusers_vq,
    "diffusers kl": diffusers_kl,
    "open_magvit2": lambda: OpenMagvit2(8, (1, 2, 2), 1, bits=4),
    "mergevq": lambda: MergeVQ(16, 8, (1, 2, 2), 1, bits=4, layers=2, heads=2, keep=9, candidates=None),
    "llamagen": lambda: LlamaGenVQ(
        channels=32, multipliers=(1, 1, 2), blocks=1, z_channels=8, codebook_size=32, code_dim=4, usage_window=0
    ),
    "centroids": lambda: CentroidTokenizer(4, 32),
}


@pytest.fixture(params=MEMBERS, scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return MEMBERS[request.param]().eval()


def make_images(height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_round_trip(tokenizer: Tokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer) and tokenizer.downsample == 4
    codes = tokenizer.encode(make_images())
    assert codes.latents.shape[0] == 2 and codes.latents.shape[2:] == (4, 6)
    made = tokenizer.decode(codes)
    assert made.shape == (2, 3, 16, 24) and made.min() >= 0 and made.max() <= 1
    assert torch.isfinite(made).all()


@torch.no_grad()
def test_ids_alone_rebuild_the_image(tokenizer: Tokenizer) -> None:
    codes = tokenizer.encode(make_images())
    if not tokenizer.codebook_size:
        assert codes.indices is None
        return
    assert (
        codes.indices is not None and codes.indices.shape == (2, 4, 6) and codes.indices.dtype == torch.int64
    )
    assert codes.indices.min() >= 0 and codes.indices.max() < tokenizer.codebook_size
    torch.testing.assert_close(tokenizer.lookup(codes.indices), codes.latents, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokenizer.decode(codes.indices), tokenizer.decode(codes), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(tokenizer: Tokenizer) -> None:
    images = make_images()
    torch.testing.assert_close(
        tokenizer.encode(images).latents[1:], tokenizer.encode(images[1:]).latents, atol=1e-5, rtol=1e-4
    )


def test_wrong_input_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        tokenizer.encode(make_images(18, 24))
    with pytest.raises(UserError, match="RGB"):
        tokenizer.encode(torch.rand(2, 1, 16, 16))
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.decode(torch.zeros(1, 77, 4, 4))
    if not tokenizer.codebook_size:
        with pytest.raises(UserError, match="decode its latents"):
            tokenizer.decode(torch.zeros(1, 4, 4, dtype=torch.int64))
        return
    for number in (-1, tokenizer.codebook_size):
        with pytest.raises(UserError, match="another tokenizer"):
            tokenizer.decode(torch.full((1, 4, 4), number))
        with pytest.raises(UserError, match="another tokenizer"):
            tokenizer.lookup(torch.full((1, 4, 4), number))
    with pytest.raises(UserError, match=r"\[B, h, w\]"):
        tokenizer.decode(torch.zeros(16, dtype=torch.int64))


SMALL: dict[str, Callable[[], PretrainedModule]] = {
    "conv": lambda: conv("vq"),
    "open_magvit2": lambda: OpenMagvit2(8, (1, 2), 1, bits=4),
    "mergevq": lambda: MergeVQ(8, 8, (1, 2), 1, bits=4, layers=1, heads=2, keep=9, candidates=None),
    "llamagen": lambda: LlamaGenVQ(32, (1,), None, 1, 8, 16, 4, usage_window=0),
    "centroids": lambda: CentroidTokenizer(4, 8),
    "titok": lambda: TiTok(8, 2, 4, None, (8, 1, 2)),
    "vqkd": lambda: VqKd(8, 4, 8, 1, 2, decoder_depth=1, codebook_size=8, code_dim=4, feature_dim=5),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_of_another_tokenizer_is_named(name: str, tmp_path: Path) -> None:
    part = SMALL[name]()
    part.save_pretrained(tmp_path)
    other = SMALL["conv" if name != "conv" else "titok"]()
    with pytest.raises(UserError, match=f"pass the folder of a saved {type(other).__name__}"):
        type(other).from_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    other.save_pretrained(tmp_path / "other")
    weights.write_bytes((tmp_path / "other" / weights.name).read_bytes())
    with pytest.raises(UserError, match=f"does not fit {type(part).__name__}.*missing"):
        type(part).from_pretrained(tmp_path)


@torch.no_grad()
def test_encoding_for_use_changes_nothing(tokenizer: Any) -> None:
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    tokenizer.decode(tokenizer.encode(make_images()))
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())


def test_an_unknown_quantizer_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="simvq, ibq, residual"):
        conv("rvq")
